/*
 * Runs single instructions, or short programs of them, on the real CPU, for as long as commands come: `struct command` on
 * stdin, one `struct reply` on stdout for each. The cases lie in the file that is descriptor 3, records in a row, and each
 * result takes its case's place. Every command has a process of its own: nothing a batch does to it reaches the next one.
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
#include <sys/wait.h>
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

#define CASES_FD 3

/* mode: 16, 32 or 64. first, count: records of the file. */
struct command { int32_t mode, odd; uint32_t first, count; };
/* status: as waitpid gives it; 0 where all went well. reached: cases that were done. */
struct reply { int32_t status; uint32_t reached; };

static struct record *cases;
static size_t count;
/* Case that runs; in memory the waiting parent sees. */
static volatile uint32_t *current;
static int mode, started;
static uint32_t watched = ~0u;
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

static void on_signal(int sig, siginfo_t *info, void *context) {
  /* POPF may have set AC (no alignment checks in here), and NT or ID, which returning from a signal does not restore. */
  __asm__ volatile("pushfq; andl $~0x244000, (%%rsp); popfq" : : : "memory", "cc");
  (void)info;
  ucontext_t *c = context;
  if (sig == SIGALRM && (!started || watched != *current)) { watched = *current; return; }
  if (started) { store(&cases[*current], c, sig); ++*current; }
  started = 1;
  if (*current == count) _exit(0);
  fix_data_segments();
  load(&cases[*current], c);
}

static void add_ldt(unsigned entry, unsigned contents, unsigned limit, unsigned is32, unsigned read_only) {
  struct user_desc d = {
    .entry_number = entry, .base_addr = CODE_BASE, .limit = limit, .contents = contents, .seg_32bit = is32,
    .read_exec_only = read_only, .useable = 1,
  };
  if (syscall(SYS_modify_ldt, 1, &d, sizeof d) != 0) { perror("modify_ldt"); _exit(4); }
}

/* The segments of a mode. 64-bit mode needs a base of GS only. */
static void set_up_segments(int odd) {
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
}

/* Runs the cases of a command; does not return. */
static void run(const struct command *command) {
  mode = command->mode;
  count = command->count;
  size_t bytes = ((size_t)command->first + count) * sizeof(struct record);
  int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  void *code = mmap((void *)(uintptr_t)CODE_BASE, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, fixed, -1, 0);
  void *data = mmap((void *)(uintptr_t)DATA_BASE, DATA_BYTES, PROT_READ | PROT_WRITE, fixed, -1, 0);
  struct record *all = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, CASES_FD, 0);
  if (code == MAP_FAILED || data == MAP_FAILED || all == MAP_FAILED) { perror("mmap"); _exit(6); }
  cases = all + command->first;
  set_up_segments(command->odd);
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
  _exit(7);
}

int main(void) {
  struct command command;
  if (sizeof(struct record) != 1296) return 5;
  current = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (current == MAP_FAILED) { perror("mmap"); return 6; }
  while (read(0, &command, sizeof command) == sizeof command) {
    struct reply reply = { .status = -1 };
    *current = 0;
    pid_t child = fork();
    if (child == 0) run(&command);
    if (child > 0) waitpid(child, &reply.status, 0);
    reply.reached = *current;
    if (write(1, &reply, sizeof reply) != sizeof reply) return 8;
  }
  return 0;
}
