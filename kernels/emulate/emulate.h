// SPDX-License-Identifier: MIT
// The names of kernels/cuda/gpu.cuh, where its comments are, for a C++ compiler: every CUDA thread
// is a fiber on the CPU. Only gpu.cuh includes this; control.h is for tests. Nothing of CUDA is
// needed. How it works, and what it finds: README.md beside this file.
#pragma once

#include <string.h>

#include <new>
#include <tuple>
#include <utility>

#define DEVICE
#define HOST_DEVICE
#define KERNEL(name)                         static void name
#define KERNEL_BOUNDS(threads, blocks, name) static void name
#define UNROLL

/** Where shared memory of one call site is in the running block's arena. */
typedef struct EmulateSite {
    const char *name;
    const char *file;
    int line;
    uint32_t offset; // in this launch
    uint64_t launch; // that it was placed in
} EmulateSite;

#define SHARED(type, name, dims)                                                                   \
    typedef type name##_shared_type dims;                                                          \
    static EmulateSite name##_site = {#name, __FILE__, __LINE__, 0, 0};                            \
    name##_shared_type &name =                                                                     \
        *(name##_shared_type *)emulate_shared(&name##_site, sizeof(name##_shared_type))
#define DYN_SHARED(type, name) type *name = (type *)emulate_dyn_shared()
#define SYNC()                 emulate_sync(__FILE__, __LINE__)
#define SYNC_WARP()            emulate_meet(MEET_SYNC, NULL, __FILE__, __LINE__)
#define FENCE()                emulate_fence()
#define LAUNCH_EARLY(...)      LAUNCH(__VA_ARGS__) // a launch begins when all before is done
#define EARLY_START()          ((void)0)
#define EARLY_WAIT()           ((void)0)
#define EARLY()                ((void)0)
#define LAUNCH(...)            gpu_launch(EmulatePlace{#__VA_ARGS__, __FILE__, __LINE__}, __VA_ARGS__)

// ---- Types --------------------------------------------------------------------------------------

struct dim3 {
    uint32_t x, y, z;
    constexpr dim3(uint32_t nx = 1, uint32_t ny = 1, uint32_t nz = 1) : x(nx), y(ny), z(nz)
    {
    }
};

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

inline float2 make_float2(float x, float y)
{
    return float2{x, y};
}
inline float4 make_float4(float x, float y, float z, float w)
{
    return float4{x, y, z, w};
}
inline int2 make_int2(int x, int y)
{
    return int2{x, y};
}
inline int4 make_int4(int x, int y, int z, int w)
{
    return int4{x, y, z, w};
}
inline uint2 make_uint2(uint32_t x, uint32_t y)
{
    return uint2{x, y};
}
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
    return uint4{x, y, z, w};
}

typedef struct EmulateStream *GpuStream;
typedef struct EmulateEvent *GpuEvent;
typedef struct EmulateGraph *GpuGraph;
typedef struct EmulateGraphExec *GpuGraphExec;

// ---- What a kernel calls ------------------------------------------------------------------------

/** The thread that runs. */
typedef struct EmulateNow {
    uint32_t thread_x;
    uint32_t block_x, block_y, block_z;
    uint32_t block_dim_x;
    uint32_t grid_dim_x, grid_dim_y, grid_dim_z;
} EmulateNow;
extern EmulateNow emulate_now;

/** What the lanes of a warp do together. */
typedef enum EmulateMeeting {
    MEET_SYNC,
    MEET_SHFL, // MeetShfl
    MEET_SHFL_XOR,
    MEET_SHFL_DOWN,
    MEET_SHFL_UP,
    MEET_BALLOT, // MeetVote
    MEET_ANY,
    MEET_ALL,
    MEET_LDMATRIX, // MeetLdmatrix
    MEET_LDMATRIX_TRANS,
    MEET_MMA_F16, // MeetMma
    MEET_MMA_BF16,
    MEET_MMA_S8,
    MEET_MMA_U8S8,
    MEET_MMA_S8U8,
} EmulateMeeting;

typedef struct MeetShfl {
    uint64_t value; // in and out
    int lane;       // or mask, delta
} MeetShfl;
typedef struct MeetVote {
    bool in;
    uint32_t out;
} MeetVote;
typedef struct MeetLdmatrix {
    const void *row;
    uint32_t *r;
} MeetLdmatrix;
typedef struct MeetMma {
    void *d;
    const uint32_t *a;
    const uint32_t *b;
} MeetMma;

void *emulate_shared(EmulateSite *site, size_t bytes);
void *emulate_dyn_shared(void);
void emulate_sync(const char *file, int line);
void emulate_meet(EmulateMeeting what, void *args, const char *file, int line);
void emulate_fence(void);
void emulate_cp_async(void *shared, const void *global, bool valid, const char *file, int line);
void emulate_prefetch(const void *global, uint32_t bytes, const char *file, int line);
void emulate_cp_async_commit(void);
void emulate_cp_async_wait(int n_left);
uint32_t emulate_atomic_add(uint32_t *at, uint32_t x);
uint64_t emulate_atomic_add64(uint64_t *at, uint64_t x);
uint32_t emulate_atomic_max(uint32_t *at, uint32_t x);

#ifdef __SANITIZE_THREAD__ // the checker sees all that is inlined into kernels: this is not theirs
const EmulateNow *emulate_now_at(void);
#define EMULATE_NOW (*emulate_now_at())
#else
#define EMULATE_NOW emulate_now
#endif

inline uint32_t thread_x(void)
{
    return EMULATE_NOW.thread_x;
}
inline uint32_t block_x(void)
{
    return EMULATE_NOW.block_x;
}
inline uint32_t block_y(void)
{
    return EMULATE_NOW.block_y;
}
inline uint32_t block_z(void)
{
    return EMULATE_NOW.block_z;
}
inline uint32_t block_dim_x(void)
{
    return EMULATE_NOW.block_dim_x;
}
inline uint32_t grid_dim_x(void)
{
    return EMULATE_NOW.grid_dim_x;
}
inline uint32_t grid_dim_y(void)
{
    return EMULATE_NOW.grid_dim_y;
}
inline uint32_t grid_dim_z(void)
{
    return EMULATE_NOW.grid_dim_z;
}

// The caller's place comes as a default argument.
#define EMULATE_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <typename T>
inline T emulate_shfl(EmulateMeeting what, T v, int lane, const char *file, int line)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "4 or 8 bytes");
    MeetShfl m = {0, lane};
    memcpy(&m.value, &v, sizeof(v));
    emulate_meet(what, &m, file, line);
    memcpy(&v, &m.value, sizeof(v));
    return v;
}
template <typename T> inline T shfl(T v, int lane, EMULATE_PLACE)
{
    return emulate_shfl(MEET_SHFL, v, lane, file, line);
}
template <typename T> inline T shfl_xor(T v, int mask, EMULATE_PLACE)
{
    return emulate_shfl(MEET_SHFL_XOR, v, mask, file, line);
}
template <typename T> inline T shfl_down(T v, int delta, EMULATE_PLACE)
{
    return emulate_shfl(MEET_SHFL_DOWN, v, delta, file, line);
}
template <typename T> inline T shfl_up(T v, int delta, EMULATE_PLACE)
{
    return emulate_shfl(MEET_SHFL_UP, v, delta, file, line);
}
inline uint32_t ballot(bool p, EMULATE_PLACE)
{
    MeetVote m = {p, 0};
    emulate_meet(MEET_BALLOT, &m, file, line);
    return m.out;
}
inline bool any_lane(bool p, EMULATE_PLACE)
{
    MeetVote m = {p, 0};
    emulate_meet(MEET_ANY, &m, file, line);
    return m.out != 0;
}
inline bool all_lanes(bool p, EMULATE_PLACE)
{
    MeetVote m = {p, 0};
    emulate_meet(MEET_ALL, &m, file, line);
    return m.out != 0;
}
inline void cp_async16(void *shared, const void *global, bool valid, EMULATE_PLACE)
{
    emulate_cp_async(shared, global, valid, file, line);
}
inline void prefetch_l2(const void *global, uint32_t bytes, EMULATE_PLACE)
{
    emulate_prefetch(global, bytes, file, line);
}
inline void cp_async_commit(void)
{
    emulate_cp_async_commit();
}
template <int N> inline void cp_async_wait(void)
{
    emulate_cp_async_wait(N);
}
inline void ldmatrix_x4(uint32_t *r, const void *row, EMULATE_PLACE)
{
    MeetLdmatrix m = {row, r};
    emulate_meet(MEET_LDMATRIX, &m, file, line);
}
inline void ldmatrix_x4_trans(uint32_t *r, const void *row, EMULATE_PLACE)
{
    MeetLdmatrix m = {row, r};
    emulate_meet(MEET_LDMATRIX_TRANS, &m, file, line);
}
inline void mma_m16n8k16_f16(float *d, const uint32_t *a, const uint32_t *b, EMULATE_PLACE)
{
    MeetMma m = {d, a, b};
    emulate_meet(MEET_MMA_F16, &m, file, line);
}
inline void mma_m16n8k16_bf16(float *d, const uint32_t *a, const uint32_t *b, EMULATE_PLACE)
{
    MeetMma m = {d, a, b};
    emulate_meet(MEET_MMA_BF16, &m, file, line);
}
inline void mma_m16n8k32_s8(int *d, const uint32_t *a, const uint32_t *b, EMULATE_PLACE)
{
    MeetMma m = {d, a, b};
    emulate_meet(MEET_MMA_S8, &m, file, line);
}
inline void mma_m16n8k32_u8s8(int *d, const uint32_t *a, const uint32_t *b, EMULATE_PLACE)
{
    MeetMma m = {d, a, b};
    emulate_meet(MEET_MMA_U8S8, &m, file, line);
}
inline void mma_m16n8k32_s8u8(int *d, const uint32_t *a, const uint32_t *b, EMULATE_PLACE)
{
    MeetMma m = {d, a, b};
    emulate_meet(MEET_MMA_S8U8, &m, file, line);
}
inline int dp4a_ss(uint32_t a, uint32_t b, int acc)
{
    for (int i = 0; i < 4; i++) {
        acc += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    }
    return acc;
}
inline int dp4a_us(uint32_t a, uint32_t b, int acc)
{
    for (int i = 0; i < 4; i++) {
        acc += (uint8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    }
    return acc;
}

// ---- Numbers ------------------------------------------------------------------------------------

inline float bits_to_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}
inline uint32_t float_to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}
inline float f16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7fffu;
    if (rest < 0x400u) { // subnormal or zero: rest * 2^-24
        float x = (float)rest * 0x1p-24f;
        return bits_to_float(float_to_bits(x) | sign);
    }
    uint32_t exponent = rest >= 0x7c00u ? 0x70000000u : 0x38000000u;
    return bits_to_float(sign | ((rest << 13) + exponent));
}
inline uint16_t float_to_f16(float x)
{
    uint32_t bits = float_to_bits(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) {
        return (uint16_t)(0x7fffu); // as CUDA gives every NaN
    }
    if (rest >= 0x477ff000u) { // 65520 and more
        return (uint16_t)(sign | 0x7c00u);
    }
    if (rest < 0x38800000u) { // below 2^-14: in units of 2^-24, where this sum rounds
        float scaled = bits_to_float(rest) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(scaled) - 0x3f000000u));
    }
    uint32_t rounded = rest + 0xfffu + (rest >> 13 & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}
inline float bf16_to_float(uint16_t h)
{
    return bits_to_float((uint32_t)h << 16);
}
inline uint16_t float_to_bf16(float x)
{
    uint32_t bits = float_to_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0x7fffu;
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline uint32_t pack_f16(float low, float high)
{
    return (uint32_t)float_to_f16(high) << 16 | float_to_f16(low);
}
inline uint32_t pack_bf16(float low, float high)
{
    return (uint32_t)float_to_bf16(high) << 16 | float_to_bf16(low);
}
inline int popcount(uint32_t x)
{
    return __builtin_popcount(x);
}
inline uint32_t atomic_add(uint32_t *at, uint32_t x)
{
    return emulate_atomic_add(at, x);
}
inline uint64_t atomic_add(uint64_t *at, uint64_t x)
{
    return emulate_atomic_add64(at, x);
}
inline void atomic_add_shared(uint64_t *at, uint64_t x)
{
    (void)emulate_atomic_add64(at, x);
}
inline uint32_t atomic_max(uint32_t *at, uint32_t x)
{
    return emulate_atomic_max(at, x);
}
inline uint32_t opaque(uint32_t x)
{
    return x;
}
inline uint4 load_stream(const uint4 *at)
{
    return *at;
}
inline uint2 load_stream(const uint2 *at)
{
    return *at;
}

// ---- Launch -------------------------------------------------------------------------------------

typedef struct EmulatePlace {
    const char *call; // the arguments of LAUNCH
    const char *file;
    int line;
} EmulatePlace;

/** A kernel and a copy of its arguments, in memory that the emulator frees. */
typedef struct EmulateCall {
    void (*run)(const void *self); // for one thread
    void (*destroy)(void *self);
    void *self;
    size_t bytes;
} EmulateCall;

void emulate_launch(EmulatePlace place, dim3 grid, dim3 block, size_t shared_bytes,
                    GpuStream stream, EmulateCall call);
void *emulate_call_memory(size_t bytes);

template <typename... P> struct EmulateClosure {
    void (*kernel)(P...);
    std::tuple<P...> args;

    template <size_t... I> void spread(std::index_sequence<I...>) const
    {
        kernel(std::get<I>(args)...);
    }
    static void run(const void *self)
    {
        ((const EmulateClosure *)self)->spread(std::index_sequence_for<P...>());
    }
    static void destroy(void *self)
    {
        ((EmulateClosure *)self)->~EmulateClosure();
    }
};

typedef EmulatePlace GpuPlace;

template <typename... P, typename... A>
inline void gpu_issue(const EmulatePlace &place, void (*kernel)(P...), dim3 grid, dim3 block,
                      size_t shared_bytes, GpuStream stream, const A &...args)
{
    typedef EmulateClosure<P...> Closure;
    void *self = emulate_call_memory(sizeof(Closure));
    new (self) Closure{kernel, std::tuple<P...>(static_cast<P>(args)...)};
    emulate_launch(place, grid, block, shared_bytes, stream,
                   EmulateCall{Closure::run, Closure::destroy, self, sizeof(Closure)});
}
/** Member by member: what lies between them stays. */
inline void gpu_place_copy(EmulatePlace *to, const EmulatePlace &from)
{
    to->call = from.call;
    to->file = from.file;
    to->line = from.line;
}

// ---- Host ---------------------------------------------------------------------------------------

GpuError gpu_device_count(int *out_n);
GpuError gpu_set_device(int index);
GpuError gpu_device_info(int index, GpuInfo *out);
GpuError gpu_memory_info(size_t *out_free, size_t *out_total);
GpuError gpu_malloc(void **out, size_t bytes);
GpuError gpu_free(void *device);
GpuError gpu_malloc_host(void **out, size_t bytes);
GpuError gpu_free_host(void *host);
GpuError gpu_copy_h2d_async(void *to, const void *from, size_t bytes, GpuStream stream);
GpuError gpu_copy_d2h_async(void *to, const void *from, size_t bytes, GpuStream stream);
GpuError gpu_copy_d2d_async(void *to, const void *from, size_t bytes, GpuStream stream);
GpuError gpu_copy_peer_async(void *to, int to_device, const void *from, int from_device,
                             size_t bytes, GpuStream stream);
GpuError gpu_peer_enable(int device, int other);
GpuError gpu_memset_async(void *to, int byte, size_t bytes, GpuStream stream);
GpuError gpu_stream_create(GpuStream *out);
GpuError gpu_stream_destroy(GpuStream stream);
GpuError gpu_stream_sync(GpuStream stream);
GpuError gpu_stream_wait_event(GpuStream stream, GpuEvent event);
GpuError gpu_device_sync(void);
GpuError gpu_event_create(GpuEvent *out);
GpuError gpu_event_destroy(GpuEvent event);
GpuError gpu_event_record(GpuEvent event, GpuStream stream);
GpuError gpu_event_sync(GpuEvent event);
GpuError gpu_event_query(GpuEvent event);
GpuError gpu_event_elapsed_ms(float *out_ms, GpuEvent from, GpuEvent to);
GpuError gpu_capture_begin(GpuStream stream);
GpuError gpu_capture_end(GpuStream stream, GpuGraph *out);
GpuError gpu_graph_destroy(GpuGraph graph);
GpuError gpu_graph_instantiate(GpuGraphExec *out, GpuGraph graph);
GpuError gpu_graph_launch(GpuGraphExec exec, GpuStream stream);
GpuError gpu_graph_exec_destroy(GpuGraphExec exec);
GpuError gpu_last_error(void);
const char *gpu_error_string(GpuError error);
