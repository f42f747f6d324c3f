#include "kernels/ops/picture/picture_cuda.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "kernels/copy.h"
#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

/// AxisTaps on the device: first, count and weights one behind another.
struct Taps {
  const std::int32_t* first;
  const std::int32_t* count;
  const std::int32_t* weights;
  int stride;
};

Result<Taps> upload_taps(Context& context, const AxisTaps& taps) {
  std::vector<std::int32_t> all;
  all.reserve(taps.first.size() + taps.count.size() + taps.weights.size());
  for (const auto* part : {&taps.first, &taps.count, &taps.weights})
    all.insert(all.end(), part->begin(), part->end());
  FOVEA_TRY(const std::int32_t* const there, upload(context, std::span<const std::int32_t>(all)));
  const std::size_t results = taps.first.size();
  return Taps{there, there + results, there + 2 * results, static_cast<int>(taps.stride)};
}

__device__ std::uint8_t level_of(int sum) {
  return static_cast<std::uint8_t>(min(max(sum >> kTapBits, 0), 255));
}

/// The picture on the device, as far as it was sent.
struct Sheet {
  const std::uint8_t* pixels;
  std::int64_t stride;
  int left, width;  // of the picture
  int top, height;  // of the rows that are there
  uchar3 color;
};

/// Columns by threads, rows by blocks.
__global__ __launch_bounds__(kThreads) void sum_columns_kernel(Sheet sheet, Taps taps, int results,
                                                               int first_row, int rows,
                                                               std::uint8_t* out,
                                                               std::int64_t out_stride) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= results) return;
  const int first = taps.first[i] - sheet.left, count = taps.count[i];
  const std::int32_t* const weights = taps.weights + static_cast<std::int64_t>(i) * taps.stride;
  for (int row = blockIdx.y; row < rows; row += gridDim.y) {
    std::uint8_t* const to = out + row * out_stride + std::int64_t{3} * i;
    const int y = first_row + row - sheet.top;
    if (y < 0 || y >= sheet.height) {
      to[0] = sheet.color.x;
      to[1] = sheet.color.y;
      to[2] = sheet.color.z;
      continue;
    }
    const std::uint8_t* const from = sheet.pixels + y * sheet.stride;
    int red = 1 << (kTapBits - 1), green = red, blue = red;
    for (int tap = 0; tap < count; ++tap) {
      const int x = first + tap, weight = weights[tap];
      const bool inside = x >= 0 && x < sheet.width;
      red += (inside ? from[3 * x] : sheet.color.x) * weight;
      green += (inside ? from[3 * x + 1] : sheet.color.y) * weight;
      blue += (inside ? from[3 * x + 2] : sheet.color.z) * weight;
    }
    to[0] = level_of(red);
    to[1] = level_of(green);
    to[2] = level_of(blue);
  }
}

/// Bytes by threads, result rows by blocks.
__global__ __launch_bounds__(kThreads) void sum_rows_kernel(const std::uint8_t* from,
                                                            std::int64_t from_stride, Taps taps,
                                                            int first_row, int results, int bytes,
                                                            std::uint8_t* out,
                                                            std::int64_t out_stride) {
  const int x = blockIdx.x * kThreads + threadIdx.x;
  if (x >= bytes) return;
  for (int i = blockIdx.y; i < results; i += gridDim.y) {
    const std::int32_t* const weights = taps.weights + static_cast<std::int64_t>(i) * taps.stride;
    const std::uint8_t* const column = from + (taps.first[i] - first_row) * from_stride + x;
    int sum = 1 << (kTapBits - 1);
    for (int tap = 0; tap < taps.count[i]; ++tap) sum += column[tap * from_stride] * weights[tap];
    out[i * out_stride + x] = level_of(sum);
  }
}

__global__ __launch_bounds__(kThreads) void spread_channels_kernel(
    const std::uint8_t* picture, std::int64_t stride, int picture_width, int picture_height,
    int left, int top, const float* table, int channels, int width, int height, float* planes) {
  const int x = blockIdx.x * kThreads + threadIdx.x;
  if (x >= width) return;
  const int from_x = x - left;
  for (int y = blockIdx.y; y < height; y += gridDim.y) {
    const int from_y = y - top;
    const bool inside =
        from_x >= 0 && from_x < picture_width && from_y >= 0 && from_y < picture_height;
    for (int channel = 0; channel < channels; ++channel) {
      const int level = inside ? picture[from_y * stride + 3 * from_x + channel] : 0;
      planes[(static_cast<std::int64_t>(channel) * height + y) * width + x] =
          table[channel * 256 + level];
    }
  }
}

dim3 grid_of(std::int64_t columns, std::int64_t rows) {
  constexpr std::int64_t kMostRows = 65535;  // of a grid
  return dim3(static_cast<unsigned>((columns + kThreads - 1) / kThreads),
              static_cast<unsigned>(std::min(rows, kMostRows)));
}

}  // namespace

Status sum_columns_cuda(Context& context, const PictureSheet& sheet, const AxisTaps& taps,
                        std::int64_t first_row, TensorView out) {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const Taps there, upload_taps(context, taps));
  // Only the rows that are read travel.
  const std::int64_t height = sheet.picture.rows();
  const std::int64_t begin = std::clamp<std::int64_t>(first_row - sheet.top, 0, height);
  const std::int64_t end =
      std::clamp<std::int64_t>(first_row + out.rows() - sheet.top, begin, height);
  ConstTensorView rows;
  if (end > begin) {
    FOVEA_TRY(rows, to_device(context, sheet.picture.slice(begin, end - begin)));
  }
  const Sheet seen{.pixels = rows.as<std::uint8_t>(),
                   .stride = rows.row_stride,
                   .left = static_cast<int>(sheet.left),
                   .width = static_cast<int>(sheet.picture.shape[1] / 3),
                   .top = static_cast<int>(sheet.top + begin),
                   .height = static_cast<int>(end - begin),
                   .color = {sheet.color[0], sheet.color[1], sheet.color[2]}};
  const auto results = static_cast<std::int64_t>(taps.first.size());
  sum_columns_kernel<<<grid_of(results, out.rows()), kThreads, 0, stream_of(context)>>>(
      seen, there, static_cast<int>(results), static_cast<int>(first_row),
      static_cast<int>(out.rows()), out.as<std::uint8_t>(), out.row_stride);
  FOVEA_LAUNCH_CHECK("sum_columns");
  return {};
}

Status sum_rows_cuda(Context& context, ConstTensorView from, const AxisTaps& taps,
                     std::int64_t first_row, TensorView out) {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const Taps there, upload_taps(context, taps));
  sum_rows_kernel<<<grid_of(out.shape[1], out.rows()), kThreads, 0, stream_of(context)>>>(
      from.as<std::uint8_t>(), from.row_stride, there, static_cast<int>(first_row),
      static_cast<int>(out.rows()), static_cast<int>(out.shape[1]), out.as<std::uint8_t>(),
      out.row_stride);
  FOVEA_LAUNCH_CHECK("sum_rows");
  return {};
}

Status spread_channels_cuda(Context& context, ConstTensorView picture, std::int64_t left,
                            std::int64_t top, const LevelTable& table, TensorView planes) {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const float* const there,
            upload(context, std::span<const float>(table.front().data(), table.size() * 256)));
  const std::int64_t height = planes.shape[1], width = planes.shape[2];
  spread_channels_kernel<<<grid_of(width, height), kThreads, 0, stream_of(context)>>>(
      picture.as<std::uint8_t>(), picture.row_stride, static_cast<int>(picture.shape[1] / 3),
      static_cast<int>(picture.rows()), static_cast<int>(left), static_cast<int>(top), there,
      static_cast<int>(planes.shape[0]), static_cast<int>(width), static_cast<int>(height),
      planes.as<float>());
  FOVEA_LAUNCH_CHECK("spread_channels");
  return {};
}

}  // namespace fovea
