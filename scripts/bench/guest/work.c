/*
 * The benchmark's guest programs in one static binary: `work NAME` prints START NAME, computes, and prints END NAME RESULT.
 * The host takes the times from those lines; RESULT must be the same on every machine of one width.
 * `work text` writes the input of the busybox programs; `work start NAME` is their START line; `work leave N` ends with status N.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PAGE 4096
#define MIB (1u << 20)

/* What the compiler cannot see through: the work before it must really be done. */
static void keep(const void *memory) { __asm__ volatile("" : : "r"(memory) : "memory"); }

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *take(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory) fail("malloc");
    return memory;
}

static uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* Shifts, rotates and sums that depend on one another: no memory. */
static uint32_t loop(void)
{
    uint32_t a = 1, b = 2;
    for (uint32_t i = 0; i < 400000000u; i++) {
        a += b ^ i;
        b = (b << 3) | (b >> 29);
        a ^= a >> 5;
    }
    return a + b;
}

/* Primes below 1 Mi, a byte each. */
static uint32_t sieve(void)
{
    static uint8_t prime[MIB];
    uint32_t count = 0;
    for (int round = 0; round < 80; round++) {
        memset(prime, 1, sizeof prime);
        count = 0;
        for (uint32_t i = 2; i < sizeof prime; i++) {
            if (!prime[i]) continue;
            count++;
            for (uint32_t j = i * 2; j < sizeof prime; j += i) prime[j] = 0;
        }
        keep(prime);
    }
    return count;
}

/* Loads of which each gives the next one's address, over 8 MiB in one random cycle (Sattolo's shuffle). */
static uint32_t chase(void)
{
    const uint32_t count = 8 * MIB / sizeof(uint32_t);
    uint32_t *next = take(count * sizeof *next);
    uint32_t seed = 12345, at = 0;
    for (uint32_t i = 0; i < count; i++) next[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = next_random(&seed) % i, other = next[i];
        next[i] = next[j];
        next[j] = other;
    }
    for (uint32_t i = 0; i < 4 * count - 1; i++) at = next[at];
    free(next);
    return at;
}

/* Whole numbers throughout: exact in SSE's doubles and in x87's. Emulated x87 is so much slower that 32 bits get fewer rounds. */
static uint32_t matmul(void)
{
    enum { N = 200, ROUNDS = sizeof(long) == 8 ? 12 : 2 };
    static double a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = i + j;
            b[i][j] = i - j;
        }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double sum = 0;
                for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
        keep(c);
    }
    double total = 0;
    for (int i = 0; i < N; i++) total += c[i][(i * 7) % N];
    return (uint32_t)(int64_t)total;
}

static __attribute__((noinline)) uint32_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static uint32_t calls(void) { return fibonacci(38); }

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t sort(void)
{
    enum { N = 1200000 };
    int32_t *numbers = take(N * sizeof *numbers);
    uint32_t seed = 99, sum = 0;
    for (int i = 0; i < N; i++) numbers[i] = (int32_t)next_random(&seed);
    qsort(numbers, N, sizeof *numbers, compare);
    for (int i = 0; i < N; i++) sum = sum * 31 + (uint32_t)numbers[i];
    free(numbers);
    return sum;
}

static uint32_t copy(void)
{
    uint8_t *from = take(MIB), *to = take(MIB);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < MIB; i++) from[i] = (uint8_t)(i * 7);
    for (uint32_t i = 0; i < 3000; i++) {
        memcpy(to, from, MIB);
        keep(to);
        sum += to[i * 13];
        from[i] = (uint8_t)sum;
    }
    free(from);
    free(to);
    return sum;
}

static uint32_t syscalls(void)
{
    const long parent = getppid();
    uint32_t same = 0;
    for (int i = 0; i < 1000000; i++) same += syscall(SYS_getppid) == parent;
    return same;
}

/* One byte there and back between two processes. */
static uint32_t ping_pong(void)
{
    enum { ROUNDS = 20000 };
    int there[2], back[2];
    uint8_t byte = 0;
    uint32_t sum = 0;
    if (pipe(there) || pipe(back)) fail("pipe");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        for (int i = 0; i < ROUNDS; i++) {
            if (read(there[0], &byte, 1) != 1) _exit(1);
            byte += 3;
            if (write(back[1], &byte, 1) != 1) _exit(1);
        }
        _exit(0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) fail("pipe");
        sum += byte;
    }
    waitpid(child, 0, 0);
    return sum;
}

static uint32_t forks(int exec)
{
    const int rounds = exec ? 300 : 1000;
    uint32_t sum = 0;
    for (int i = 0; i < rounds; i++) {
        char code[16];
        int status = 0;
        snprintf(code, sizeof code, "%d", i & 127);
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) {
            if (exec) execl("/bench/work", "work", "leave", code, (char *)0);
            _exit(exec ? 255 : i & 127);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) fail("wait");
        sum = sum * 3 + (uint32_t)WEXITSTATUS(status);
    }
    return sum;
}

static uint32_t fork_wait(void) { return forks(0); }
static uint32_t fork_exec(void) { return forks(1); }

/* First touches of fresh pages. */
static uint32_t faults(void)
{
    const size_t bytes = 8 * MIB;
    uint32_t sum = 0;
    for (int round = 0; round < 60; round++) {
        uint8_t *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) fail("mmap");
        for (size_t i = 0; i < bytes; i += PAGE) memory[i + 1] = (uint8_t)(i / PAGE + round);
        for (size_t i = 0; i < bytes; i += 16 * PAGE) sum += memory[i] + memory[i + 1];
        munmap(memory, bytes);
    }
    return sum;
}

static const struct {
    const char *name;
    uint32_t (*run)(void);
} PROGRAMS[] = {
    {"loop", loop},     {"sieve", sieve},       {"chase", chase},    {"matmul", matmul},  {"calls", calls},     {"qsort", sort},
    {"memcpy", copy},   {"syscalls", syscalls}, {"pipe", ping_pong}, {"fork", fork_wait}, {"exec", fork_exec}, {"faults", faults},
};

static int write_text(void)
{
    static const char *const words[] = {"machine", "guest", "page", "of", "the", "a", "kernel", "translator", "and", "block", "returns", "in",
                                        "memory", "to", "register", "flag"};
    uint32_t seed = 7;
    for (int line = 0; line < 60000; line++) {
        for (int i = 0; i < 9; i++) printf("%s%u ", words[next_random(&seed) % 16], next_random(&seed) % 50);
        printf("%d\n", line);
    }
    return 0;
}

/* The line has left the machine when this returns: sending it is no part of the time. */
static void say_start(const char *name)
{
    printf("\nSTART %s\n", name);
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
}

int main(int count, char **arguments)
{
    const char *name = count > 1 ? arguments[1] : "";
    if (!strcmp(name, "text")) return write_text();
    if (!strcmp(name, "leave")) return atoi(arguments[2]);
    if (!strcmp(name, "start")) {
        say_start(arguments[2]);
        return 0;
    }
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof *PROGRAMS; i++) {
        if (strcmp(name, PROGRAMS[i].name)) continue;
        say_start(name);
        printf("\nEND %s %u\n", name, PROGRAMS[i].run());
        return 0;
    }
    fprintf(stderr, "work: no program '%s'\n", name);
    return 2;
}
