/*
 * Runs single instructions, or short programs of them, on the real CPU. Usage: runner 16|32|64 [odd] < cases > results
 *
 * Everything goes through signals: returning from a handler loads a whole machine state (general registers, flags,
 * x87/SSE state, RIP, CS), the instruction runs, and the INT3 bytes around it (or its own fault) bring us back with
 * the whole state in the signal frame. One signal per case.
 *
 * 64: the process's own code segment. 32: compatibility mode, the kernel's flat 32-bit segments.
 * 16: 16-bit segments from the LDT, base CODE_BASE, limit 0xffff, for CS, SS, DS and ES.
 * 16 odd: the same base, but SS is 32-bit, DS 16-bit expand-down with limit ODD_DS_LIMIT, ES read-only with limit ODD_ES_LIMIT.
 * The layout of a record is in records.ts.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE_BASE 0x10000000u
#define CODE_BYTES 0x2000u
#define DATA_BASE 0x10008000u
#define DATA_BYTES 0x1000u
#define WINDOW_BYTES 512u
#define WINDOW (DATA_BASE + DATA_BYTES - WINDOW_BYTES)
#define GS_BASE 0x40u
#define CODE_ROOM 128u
#define ODD_DS_LIMIT 0x8e3fu
#define ODD_ES_LIMIT 0x8fbfu
#define NO_VECTOR 0xffffffffu
#define TIMED_OUT 0xfeu

struct record {
  uint64_t gpr[16];
  uint64_t rflags;
  uint64_t rip;
  union {
    uint8_t code[CODE_ROOM];
    struct { uint32_t vector, error; uint64_t cr2; } out;
  } u;
  uint8_t fx[512];
  uint8_t window[WINDOW_BYTES];
};

static struct record *cases;
static size_t count, current;
static int mode, started;
static size_t watched = ~(size_t)0;
static uint16_t ds_selector, es_selector, ss_selector;

/* Encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15. */
static const int GREG[16] = {
  REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
  REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static uint64_t code_base(void) { return mode == 16 ? CODE_BASE : 0; }

static void fix_data_segments(void) {
  __asm__ volatile("mov %0, %%ds; mov %1, %%es" : : "r"((uint32_t)ds_selector), "r"((uint32_t)es_selector));
  if (mode == 32) __asm__ volatile("mov %0, %%gs" : : "r"(0x2b));
}

static void store(struct record *r, ucontext_t *c, int sig) {
  greg_t *g = c->uc_mcontext.gregs;
  uint64_t rip = (uint64_t)g[REG_RIP];
  uint32_t vector = (uint32_t)g[REG_TRAPNO], error = (uint32_t)g[REG_ERR];
  uint64_t cr2 = vector == 14 ? (uint64_t)g[REG_CR2] : 0;
  if (sig == SIGALRM) vector = TIMED_OUT;
  else if (vector == 3) { vector = NO_VECTOR; rip--; }
  /* A fetch fault elsewhere: an instruction has branched there. */
  else if (vector == 14 && (error & 0x10) && (rip < r->rip || rip >= r->rip + CODE_ROOM)) { vector = NO_VECTOR; cr2 = 0; }
  for (int i = 0; i < 16; i++) r->gpr[i] = (uint64_t)g[GREG[i]];
  r->rflags = (uint64_t)g[REG_EFL];
  r->rip = rip;
  r->u.out.vector = vector;
  r->u.out.error = vector == NO_VECTOR ? 0 : error;
  r->u.out.cr2 = cr2;
  memcpy(r->fx, c->uc_mcontext.fpregs, 512);
  memcpy(r->window, (void *)(uintptr_t)WINDOW, WINDOW_BYTES);
}

static void load(const struct record *r, ucontext_t *c) {
  greg_t *g = c->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) g[GREG[i]] = (greg_t)r->gpr[i];
  g[REG_EFL] = (greg_t)r->rflags;
  g[REG_RIP] = (greg_t)r->rip;
  uint64_t cs = mode == 64 ? 0x33 : mode == 32 ? 0x23 : 0x07;
  uint64_t ss = ss_selector;
  g[REG_CSGSFS] = (greg_t)(((uint64_t)g[REG_CSGSFS] & 0x0000ffffffff0000ull) | cs | (ss << 48));
  c->uc_flags |= 4; /* UC_STRICT_RESTORE_SS */
  uint8_t *fx = (uint8_t *)c->uc_mcontext.fpregs;
  uint8_t reserved[48];
  memcpy(reserved, fx + 464, 48); /* the kernel's own bytes */
  memcpy(fx, r->fx, 464);
  memcpy(fx + 464, reserved, 48);
  uint64_t *xstate = (uint64_t *)(fx + 512);
  if (*(uint32_t *)(fx + 464) == 0x46505853u) xstate[0] |= 3; /* FP_XSTATE_MAGIC1: x87 and SSE are given */
  memset((void *)(uintptr_t)CODE_BASE, 0xcc, CODE_BYTES);
  memset((void *)(uintptr_t)DATA_BASE, 0, DATA_BYTES - WINDOW_BYTES);
  memcpy((void *)(uintptr_t)WINDOW, r->window, WINDOW_BYTES);
  memcpy((void *)(uintptr_t)(code_base() + r->rip), r->u.code, CODE_ROOM);
}

static void finish(void) {
  const uint8_t *at = (const uint8_t *)cases;
  size_t left = count * sizeof(struct record);
  while (left > 0) {
    ssize_t n = write(1, at, left);
    if (n <= 0) _exit(3);
    at += n;
    left -= (size_t)n;
  }
  _exit(0);
}

static void on_signal(int sig, siginfo_t *info, void *context) {
  /* POPF may have set AC (no alignment checks in here), and NT or ID, which returning from a signal does not restore. */
  __asm__ volatile("pushfq; andl $~0x244000, (%%rsp); popfq" : : : "memory", "cc");
  (void)info;
  ucontext_t *c = context;
  if (sig == SIGALRM && (!started || watched != current)) { watched = current; return; }
  if (started) { store(&cases[current], c, sig); current++; }
  started = 1;
  if (current == count) finish();
  fix_data_segments();
  load(&cases[current], c);
}

static void read_cases(void) {
  size_t room = 1 << 20, used = 0;
  uint8_t *bytes = malloc(room);
  for (;;) {
    if (used == room) bytes = realloc(bytes, room *= 2);
    ssize_t n = read(0, bytes + used, room - used);
    if (n <= 0) break;
    used += (size_t)n;
  }
  cases = (struct record *)bytes;
  count = used / sizeof(struct record);
}

static void add_ldt(unsigned entry, unsigned contents, unsigned limit, unsigned is32, unsigned read_only) {
  struct user_desc d = {
    .entry_number = entry, .base_addr = CODE_BASE, .limit = limit, .contents = contents, .seg_32bit = is32,
    .read_exec_only = read_only, .useable = 1,
  };
  if (syscall(SYS_modify_ldt, 1, &d, sizeof d) != 0) { perror("modify_ldt"); exit(4); }
}

int main(int argc, char **argv) {
  mode = argc > 1 ? atoi(argv[1]) : 64;
  if (sizeof(struct record) != 1296) return 5;
  read_cases();
  if (count == 0) return 0;
  int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  void *code = mmap((void *)(uintptr_t)CODE_BASE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, fixed, -1, 0);
  void *data = mmap((void *)(uintptr_t)DATA_BASE, DATA_BYTES, PROT_READ | PROT_WRITE, fixed, -1, 0);
  if (code == MAP_FAILED || data == MAP_FAILED) { perror("mmap"); return 6; }
  int odd = argc > 2 && strcmp(argv[2], "odd") == 0;
  ds_selector = es_selector = ss_selector = mode == 16 ? 0x0f : 0x2b;
  if (mode == 16) { add_ldt(0, 2, 0xffff, 0, 0); add_ldt(1, 0, 0xffff, 0, 0); }
  if (odd) {
    add_ldt(2, 0, 0xffff, 1, 0);
    add_ldt(3, 1, ODD_DS_LIMIT, 0, 0);
    add_ldt(4, 0, ODD_ES_LIMIT, 0, 1);
    ss_selector = 0x17;
    ds_selector = 0x1f;
    es_selector = 0x27;
  }
  if (mode == 64) syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)GS_BASE);
  fix_data_segments();
  static uint8_t stack[1 << 17];
  stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
  sigaltstack(&alternate, NULL);
  struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
  sigfillset(&action.sa_mask);
  const int signals[] = { SIGFPE, SIGSEGV, SIGILL, SIGTRAP, SIGBUS, SIGUSR1, SIGALRM };
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
  struct itimerval tick = { { 1, 0 }, { 1, 0 } };
  setitimer(ITIMER_REAL, &tick, NULL);
  raise(SIGUSR1);
  return 7;
}
