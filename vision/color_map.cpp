#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "vision/overlay.h"

namespace fovea {

namespace {

using Color = std::array<std::uint8_t, 3>;

// viridis and inferno by Nathaniel J. Smith, Stefan van der Walt and Eric Firing, dedicated to the
// public domain (CC0): every eighth of their 256 colours. Linear interpolation between them stays
// within 3 levels of the originals.
constexpr std::array<Color, 33> kViridis{
    {{68, 1, 84},    {71, 13, 96},   {72, 24, 106},  {72, 35, 116},  {71, 45, 123},  {69, 55, 129},
     {66, 64, 134},  {62, 73, 137},  {59, 82, 139},  {55, 91, 141},  {51, 99, 141},  {47, 107, 142},
     {44, 114, 142}, {41, 122, 142}, {38, 130, 142}, {35, 137, 142}, {33, 145, 140}, {31, 152, 139},
     {31, 160, 136}, {34, 167, 133}, {40, 174, 128}, {50, 182, 122}, {63, 188, 115}, {78, 195, 107},
     {94, 201, 98},  {112, 207, 87}, {132, 212, 75}, {152, 216, 62}, {173, 220, 48}, {194, 223, 35},
     {216, 226, 25}, {236, 229, 27}, {253, 231, 37}}};
constexpr std::array<Color, 33> kInferno{
    {{0, 0, 4},       {4, 3, 18},      {11, 7, 36},    {21, 11, 55},   {33, 12, 74},
     {47, 10, 91},    {61, 9, 101},    {74, 12, 107},  {87, 16, 110},  {100, 21, 110},
     {113, 25, 110},  {125, 30, 109},  {138, 34, 106}, {151, 39, 102}, {163, 44, 97},
     {176, 49, 91},   {188, 55, 84},   {199, 62, 76},  {210, 70, 68},  {219, 80, 59},
     {228, 90, 49},   {235, 102, 40},  {241, 115, 29}, {246, 128, 19}, {249, 142, 9},
     {251, 157, 7},   {252, 172, 17},  {251, 188, 33}, {249, 203, 53}, {245, 219, 76},
     {242, 234, 105}, {243, 246, 138}, {252, 255, 164}}};

// A rainbow of our own in the manner of Turbo: dark at both ends, brightest in the middle, without
// the bands of older rainbows.
constexpr std::array<Color, 17> kTurbo{{{50, 20, 70},
                                        {62, 55, 145},
                                        {66, 92, 205},
                                        {60, 128, 240},
                                        {42, 163, 250},
                                        {26, 194, 228},
                                        {28, 218, 190},
                                        {60, 236, 145},
                                        {115, 247, 100},
                                        {165, 252, 65},
                                        {205, 238, 52},
                                        {236, 212, 56},
                                        {252, 178, 52},
                                        {250, 135, 38},
                                        {232, 88, 20},
                                        {200, 48, 8},
                                        {130, 10, 5}}};

constexpr std::array<Color, 2> kGray{{{0, 0, 0}, {255, 255, 255}}};

std::span<const Color> anchors_of(ColorMap map) {
  switch (map) {
    case ColorMap::viridis:
      return kViridis;
    case ColorMap::inferno:
      return kInferno;
    case ColorMap::turbo:
      return kTurbo;
    case ColorMap::gray:
      return kGray;
  }
  return kGray;
}

}  // namespace

Result<ColorMap> parse_color_map(const std::string& name) {
  if (name == "viridis") return ColorMap::viridis;
  if (name == "inferno") return ColorMap::inferno;
  if (name == "turbo") return ColorMap::turbo;
  if (name == "gray" || name == "grey") return ColorMap::gray;
  return make_error(ErrorCode::usage, "there is no colour map named '" + name.substr(0, 60) + "'")
      .with_remedy("Choose turbo, viridis, inferno or gray");
}

std::array<std::uint8_t, 3> color_of(ColorMap map, double t) {
  const std::span<const Color> anchors = anchors_of(map);
  const double last = static_cast<double>(anchors.size() - 1);
  const double place = t > 0.0 ? std::min(t, 1.0) * last : 0.0;  // NaN: the lowest colour
  const auto below = static_cast<std::size_t>(std::min(place, last - 1));
  const double part = place - static_cast<double>(below);
  Color color{};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double from = anchors[below][channel], to = anchors[below + 1][channel];
    color[channel] = static_cast<std::uint8_t>(std::lround(from + (to - from) * part));
  }
  return color;
}

}  // namespace fovea
