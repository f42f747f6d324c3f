#pragma once
// Marks a function that the host and a GPU run alike; nothing in sources that nvcc does not read.

#ifdef __CUDACC__
#define FOVEA_ON_BOTH __host__ __device__
#else
#define FOVEA_ON_BOTH
#endif
