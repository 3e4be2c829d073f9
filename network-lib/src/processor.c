// Ends the program, with words and before anything else runs, if this machine's processor lacks what the program was
// compiled for.
//
// Rust code cannot do that: all of it is compiled for the newer processor and may end with an illegal instruction
// before it has checked anything, and the feature detection of the standard library takes for granted what the
// compiler may use. The build script compiles this file for every x86-64 processor, with the features of the Rust code
// as REQUIRED: names of Rust's target features, separated by commas.

#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum reg { EAX, EBX, ECX, EDX };

static const struct feature {
    const char *name;
    unsigned leaf, subleaf;
    enum reg reg;
    unsigned bit;
} FEATURES[] = {
    {"sse3", 1, 0, ECX, 0},
    {"pclmulqdq", 1, 0, ECX, 1},
    {"ssse3", 1, 0, ECX, 9},
    {"fma", 1, 0, ECX, 12},
    {"cmpxchg16b", 1, 0, ECX, 13},
    {"sse4.1", 1, 0, ECX, 19},
    {"sse4.2", 1, 0, ECX, 20},
    {"movbe", 1, 0, ECX, 22},
    {"popcnt", 1, 0, ECX, 23},
    {"aes", 1, 0, ECX, 25},
    {"avx", 1, 0, ECX, 28},
    {"f16c", 1, 0, ECX, 29},
    {"rdrand", 1, 0, ECX, 30},
    {"bmi1", 7, 0, EBX, 3},
    {"avx2", 7, 0, EBX, 5},
    {"bmi2", 7, 0, EBX, 8},
    {"avx512f", 7, 0, EBX, 16},
    {"avx512dq", 7, 0, EBX, 17},
    {"rdseed", 7, 0, EBX, 18},
    {"adx", 7, 0, EBX, 19},
    {"avx512ifma", 7, 0, EBX, 21},
    {"avx512cd", 7, 0, EBX, 28},
    {"sha", 7, 0, EBX, 29},
    {"avx512bw", 7, 0, EBX, 30},
    {"avx512vl", 7, 0, EBX, 31},
    {"avx512vbmi", 7, 0, ECX, 1},
    {"avx512vbmi2", 7, 0, ECX, 6},
    {"gfni", 7, 0, ECX, 8},
    {"vaes", 7, 0, ECX, 9},
    {"vpclmulqdq", 7, 0, ECX, 10},
    {"avx512vnni", 7, 0, ECX, 11},
    {"avx512bitalg", 7, 0, ECX, 12},
    {"avx512vpopcntdq", 7, 0, ECX, 14},
    {"avx512vp2intersect", 7, 0, EDX, 8},
    {"avx512fp16", 7, 0, EDX, 23},
    {"sha512", 7, 1, EAX, 0},
    {"sm3", 7, 1, EAX, 1},
    {"sm4", 7, 1, EAX, 2},
    {"avxvnni", 7, 1, EAX, 4},
    {"avx512bf16", 7, 1, EAX, 5},
    {"avxifma", 7, 1, EAX, 23},
    {"lzcnt", 0x80000001, 0, ECX, 5},
    {"sse4a", 0x80000001, 0, ECX, 6},
    {"tbm", 0x80000001, 0, ECX, 21},
};

// The bits of XCR0, the register state that the operating system saves.
#define STATE_AVX 0x06u
#define STATE_AVX512 0xe6u

static unsigned saved_state(void) {
    unsigned regs[4], low, high;
    const unsigned osxsave = 1u << 27;
    if (!__get_cpuid(1, &regs[EAX], &regs[EBX], &regs[ECX], &regs[EDX]) || !(regs[ECX] & osxsave)) return 0;
    // `volatile`, or an optimiser executes it before the check above.
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has(const struct feature *feature) {
    unsigned regs[4];
    if (!__get_cpuid_count(feature->leaf, feature->subleaf, &regs[EAX], &regs[EBX], &regs[ECX], &regs[EDX])) return false;
    if (!(regs[feature->reg] >> feature->bit & 1)) return false;
    const bool avx512 = !strncmp(feature->name, "avx512", 6);
    const bool vector = avx512 || !strncmp(feature->name, "avx", 3) || !strcmp(feature->name, "fma") ||
                        !strcmp(feature->name, "f16c") || feature->name[0] == 'v';
    const unsigned state = avx512 ? STATE_AVX512 : vector ? STATE_AVX : 0;
    return (saved_state() & state) == state;
}

static bool is_required(const char *name) {
    const size_t length = strlen(name);
    for (const char *at = REQUIRED; *at; at += strcspn(at, ",")) {
        if (*at == ',') at++;
        if (strcspn(at, ",") == length && !strncmp(at, name, length)) return true;
    }
    return false;
}

__attribute__((constructor(101))) static void check_processor(void) {
    bool lacks_any = false;
    for (size_t number = 0; number < sizeof FEATURES / sizeof *FEATURES; number++) {
        const struct feature *feature = &FEATURES[number];
        if (!is_required(feature->name) || has(feature)) continue;
        if (lacks_any) {
            dprintf(STDERR_FILENO, ", %s", feature->name);
        } else {
            dprintf(STDERR_FILENO, "%s: this program was compiled for a processor with %s",
                    program_invocation_short_name, feature->name);
        }
        lacks_any = true;
    }
    if (!lacks_any) return;
    dprintf(STDERR_FILENO, ", which this machine lacks: build it on this machine, or with "
                           "RUSTFLAGS=\"-C target-cpu=x86-64\" for every processor\n");
    _exit(1);
}
