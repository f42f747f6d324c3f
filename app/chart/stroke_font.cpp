#include "app/chart/stroke_font.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace fovea::app {
namespace {

struct Drawn {
  char character;
  std::string_view strokes;
};

// Points are two digits, x and y, with the base line at y = 2, small letters up to 6, capitals up
// to 8; ";" lifts the pen. A stroke of one point is a dot.
constexpr std::array kDrawn{
    Drawn{'0', "12 32 43 47 38 18 07 03 12"},
    Drawn{'1', "07 28 22"},
    Drawn{'2', "07 18 38 47 46 02 42"},
    Drawn{'3', "07 18 38 47 46 35 15;35 44 43 32 12 03"},
    Drawn{'4', "32 38 04 44"},
    Drawn{'5', "48 08 05 35 44 43 32 12 03"},
    Drawn{'6', "47 38 18 07 03 12 32 43 44 35 15 04"},
    Drawn{'7', "08 48 12"},
    Drawn{'8', "15 35 44 43 32 12 03 04 15 06 07 18 38 47 46 35"},
    Drawn{'9', "03 12 32 43 47 38 18 07 06 15 35 46"},
    Drawn{'A', "02 28 42;14 34"},
    Drawn{'B', "02 08 38 47 46 35 05;35 44 43 32 02"},
    Drawn{'C', "47 38 18 07 03 12 32 43"},
    Drawn{'D', "02 08 28 46 44 22 02"},
    Drawn{'E', "48 08 02 42;05 35"},
    Drawn{'F', "48 08 02;05 35"},
    Drawn{'G', "47 38 18 07 03 12 32 43 45 25"},
    Drawn{'H', "02 08;42 48;05 45"},
    Drawn{'I', "02 08"},
    Drawn{'J', "38 33 22 12 03"},
    Drawn{'K', "02 08;48 05 42"},
    Drawn{'L', "08 02 32"},
    Drawn{'M', "02 08 25 48 42"},
    Drawn{'N', "02 08 42 48"},
    Drawn{'O', "12 32 43 47 38 18 07 03 12"},
    Drawn{'P', "02 08 38 47 46 35 05"},
    Drawn{'Q', "12 32 43 47 38 18 07 03 12;24 41"},
    Drawn{'R', "02 08 38 47 46 35 05;25 42"},
    Drawn{'S', "47 38 18 07 06 15 35 44 43 32 12 03"},
    Drawn{'T', "08 48;28 22"},
    Drawn{'U', "08 03 12 32 43 48"},
    Drawn{'V', "08 22 48"},
    Drawn{'W', "08 12 26 32 48"},
    Drawn{'X', "02 48;08 42"},
    Drawn{'Y', "08 25 48;25 22"},
    Drawn{'Z', "08 48 02 42"},
    Drawn{'a', "05 16 26 35 32;34 14 03 12 22 33"},
    Drawn{'b', "08 02;05 16 26 35 33 22 12 03"},
    Drawn{'c', "35 26 16 05 03 12 22 33"},
    Drawn{'d', "38 32;35 26 16 05 03 12 22 33"},
    Drawn{'e', "04 34 35 26 16 05 03 12 22 33"},
    Drawn{'f', "28 17 12;06 26"},
    Drawn{'g', "36 31 20 10 01;35 26 16 05 03 12 22 33"},
    Drawn{'h', "08 02;05 16 26 35 32"},
    Drawn{'i', "02 06;08"},
    Drawn{'j', "16 11 00;18"},
    Drawn{'k', "08 02;36 04 32"},
    Drawn{'l', "08 02"},
    Drawn{'m', "02 06;05 16 25 22;25 36 45 42"},
    Drawn{'n', "02 06;05 16 26 35 32"},
    Drawn{'o', "16 26 35 33 22 12 03 05 16"},
    Drawn{'p', "00 06;05 16 26 35 33 22 12 03"},
    Drawn{'q', "30 36;35 26 16 05 03 12 22 33"},
    Drawn{'r', "02 06;04 16 26"},
    Drawn{'s', "35 26 16 05 14 24 33 22 12 03"},
    Drawn{'t', "18 13 22;06 26"},
    Drawn{'u', "06 03 12 22 33;36 32"},
    Drawn{'v', "06 22 46"},
    Drawn{'w', "06 12 25 32 46"},
    Drawn{'x', "06 32;02 36"},
    Drawn{'y', "06 22;46 10"},
    Drawn{'z', "06 36 02 32"},
    Drawn{'.', "02"},
    Drawn{',', "02 01"},
    Drawn{':', "02;05"},
    Drawn{';', "02 01;05"},
    Drawn{'!', "08 04;02"},
    Drawn{'?', "07 18 28 37 36 25 14;12"},
    Drawn{'-', "05 25"},
    Drawn{'+', "05 45;23 27"},
    Drawn{'=', "04 34;06 36"},
    Drawn{'/', "02 38"},
    Drawn{'\\', "08 32"},
    Drawn{'|', "01 09"},
    Drawn{'(', "19 07 03 11"},
    Drawn{')', "09 17 13 01"},
    Drawn{'[', "19 09 01 11"},
    Drawn{']', "09 19 11 01"},
    Drawn{'{', "29 18 16 05 14 12 21"},
    Drawn{'}', "09 18 16 25 14 12 01"},
    Drawn{'<', "37 05 33"},
    Drawn{'>', "07 35 03"},
    Drawn{'%', "02 48;08 17 06;44 33 42"},
    Drawn{'_', "01 41"},
    Drawn{'*', "25 28;25 46;25 43;25 03;25 06"},
    Drawn{'#', "12 18;32 38;04 44;06 46"},
    Drawn{'\'', "09 07"},
    Drawn{'"', "09 07;29 27"},
    Drawn{'&', "42 07 18 28 26 04 03 12 22 44"},
    Drawn{'@', "34 24 25 35 34 44 47 38 18 07 03 12 32"},
    Drawn{'^', "06 28 46"},
    Drawn{'~', "04 15 34 45"},
    Drawn{'`', "09 17"},
    Drawn{'$', "47 38 18 07 06 15 35 44 43 32 12 03;29 21"},
};

Glyph read_glyph(std::string_view drawn) {
  Glyph glyph;
  glyph.strokes.emplace_back();
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    if (drawn[i] == ';') glyph.strokes.emplace_back();
    if (drawn[i] < '0' || drawn[i] > '9') continue;
    const GlyphPoint point{static_cast<double>(drawn[i] - '0'),
                           static_cast<double>(drawn[i + 1] - '2')};
    glyph.strokes.back().push_back(point);
    glyph.width = std::max(glyph.width, point.x);
    ++i;
  }
  for (auto& stroke : glyph.strokes) {
    if (stroke.size() == 1) stroke.push_back(stroke.front());
  }
  return glyph;
}

std::array<Glyph, 128> read_font() {
  std::array<Glyph, 128> font;
  font.fill(read_glyph("02 42 48 08 02"));
  font[' '] = {2.2, {}};
  for (const Drawn& drawn : kDrawn) {
    font[static_cast<unsigned char>(drawn.character)] = read_glyph(drawn.strokes);
  }
  return font;
}

}  // namespace

const Glyph& glyph_of(char c) {
  static const std::array<Glyph, 128> font = read_font();
  const auto code = static_cast<unsigned char>(c);
  return font[code < font.size() ? code : 0];
}

}  // namespace fovea::app
