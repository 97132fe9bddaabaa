/**
 * The one table of per-vCPU state: every register, flag word and engine cell, with its place in the vCPU block.
 * TypeScript accessors (`access.ts`) and wasm offsets (`cpu/emit`) both come from here; no offset is written twice.
 * The block lives in the machine's linear memory; generated code gets its address as parameter 0 (`cpu`).
 */

export type FieldType = 'u8' | 'u16' | 'i32' | 'i64' | 'v128'

export interface FieldSpec {
  readonly type: FieldType
  /** Array length; elements are contiguous. */
  readonly count: number
  readonly note: string
}

const TYPE_BYTES: Readonly<Record<FieldType, number>> = { u8: 1, u16: 2, i32: 4, i64: 8, v128: 16 }

const f = <T extends FieldType>(type: T, note: string, count = 1): FieldSpec & { readonly type: T } => ({ type, count, note })

/** Index into the `seg*` arrays: the encoding order of segment registers, then LDTR and TR. */
export const Seg = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const
export type SegIndex = (typeof Seg)[keyof typeof Seg]

/** Encoding order of general registers. */
export const Gpr = {
  RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7,
  R8: 8, R9: 9, R10: 10, R11: 11, R12: 12, R13: 13, R14: 14, R15: 15,
} as const

export const FIELDS = {
  // What base and index of a memory operand may be stands within 256 bytes, and address masks in a row (see `cpu/interp/record.ts`).
  zero: f('i64', 'always 0: base or index of an address that has none'),
  gpr: f('i64', 'RAX … R15 in encoding order', 16),
  stackMask: f('i64', 'mask of the stack pointer: 16, 32 or 64 bits, from SS.B and long mode'),
  mask16: f('i64', 'constant 0xffff'),
  mask32: f('i64', 'constant 0xffff_ffff'),
  mask64: f('i64', 'constant ~0'),
  blockRip: f('i64', 'RIP at the head of the running block'),
  xmm: f('v128', 'XMM0 … XMM15', 16),
  fpr: f('v128', 'x87 physical registers R0 … R7: 64-bit significand, then sign and exponent (16 bit); MMX aliases the significand', 8),

  rip: f('i64', 'address of the current instruction whenever TypeScript looks'),
  nextRip: f('i64', 'address of the following instruction, valid inside helpers that asked for it'),

  ccResult: f('i64', 'lazy flags: last result, sign-extended from its width: ZF, SF, PF derive from it'),
  ccCarry: f('i64', 'lazy flags: bit 63 CF, bit 63^62 OF, bit 3 AF, bit 0 inverts SF, bits 8–15 XOR into the parity byte'),
  rflags: f('i64', 'all RFLAGS bits but CF PF AF ZF SF OF, which are zero here; bit 1 is set'),

  segBase: f('i64', 'cached descriptor base, by SegIndex', 8),
  segLimit: f('i32', 'cached limit in bytes (u32), granularity applied', 8),
  segSelector: f('i32', 'visible selector', 8),
  segAttr: f('i32', 'access rights as in VMX: 0–3 type, 4 S, 5–6 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G, 16 unusable', 8),
  segFlat: f('i32', '1 where a data segment is expand-up, 4 GiB, readable and writable: no check needed', 8),
  gdtrBase: f('i64', 'GDTR base'),
  idtrBase: f('i64', 'IDTR base'),
  gdtrLimit: f('i32', 'GDTR limit'),
  idtrLimit: f('i32', 'IDTR limit'),

  cr0: f('i64', 'CR0'),
  cr2: f('i64', 'CR2'),
  cr3: f('i64', 'CR3'),
  cr4: f('i64', 'CR4'),
  cr8: f('i64', 'CR8 = TPR[7:4]; the local APIC is authoritative'),
  xcr0: f('i64', 'XCR0'),
  efer: f('i64', 'IA32_EFER'),
  star: f('i64', 'IA32_STAR'),
  lstar: f('i64', 'IA32_LSTAR'),
  cstar: f('i64', 'IA32_CSTAR'),
  sfmask: f('i64', 'IA32_FMASK'),
  kernelGsBase: f('i64', 'IA32_KERNEL_GS_BASE'),
  sysenterCs: f('i64', 'IA32_SYSENTER_CS'),
  sysenterEsp: f('i64', 'IA32_SYSENTER_ESP'),
  sysenterEip: f('i64', 'IA32_SYSENTER_EIP'),
  pat: f('i64', 'IA32_PAT'),
  tscAux: f('i64', 'IA32_TSC_AUX'),
  dr: f('i64', 'DR0 … DR7', 8),

  fpIp: f('i64', 'x87 last instruction pointer'),
  fpDp: f('i64', 'x87 last data pointer'),
  fpCs: f('i32', 'x87 last instruction selector'),
  fpDs: f('i32', 'x87 last data selector'),
  fpOpcode: f('i32', 'x87 last opcode, 11 bits'),
  fcw: f('i32', 'x87 control word'),
  fsw: f('i32', 'x87 status word, TOP in bits 11–13'),
  ftw: f('i32', 'abridged tag: bit i set = physical register i holds a value'),
  mxcsr: f('i32', 'MXCSR'),

  cpl: f('i32', 'current privilege level'),
  stackBase: f('i64', 'SS base as used: 0 in 64-bit mode'),
  dataBase: f('i64', 'segment bases as used, by SegIndex: 0 for ES, CS, SS and DS in 64-bit mode', 8),
  codeBase: f('i64', 'CS base as used: 0 in 64-bit mode'),
  modeKey: f('i32', 'key of everything decoding depends on; see `cpu/state/mode.ts`'),
  intShadow: f('i32', '1: interrupts held off for one instruction (STI), 2: also debug traps (MOV SS)'),
  pendingDebug: f('i32', 'DR6 bits of debug traps to be delivered before the next instruction'),
  nmiBlocked: f('i32', '1 between an NMI and IRET'),
  halted: f('i32', '1 after HLT until an event'),

  faultVector: f('i32', 'pending exception of the running instruction, -1 none'),
  faultError: f('i32', 'its error code'),
  faultHasError: f('i32', '1 where the exception pushes an error code'),
  exitReason: f('i32', 'why generated code came back; see `cpu/core/exits.ts`'),
  sliceLeft: f('i32', 'instructions left before generated code must come back; below 0 = now'),
  tlbBase: f('i32', 'address of the TLB in force (by privilege and SMAP override)'),
  codeTlbBase: f('i32', 'address of the code lookup table in force (by mode key)'),
  viewBases: f('i32', 'addresses of the TLBs of the address space in force, by TlbView', 3),
  ringTables: f('i32', 'code lookup tables of the mode in force as supervisor and as user; 0: changing there takes the long way', 2),
  interruptWaits: f('i32', '0 where no interrupt waits for RFLAGS.IF; otherwise one may'),
  codeEpoch: f('i32', 'changes with every mapping of code that may have changed: of global pages, of any page', 2),
  jumps: f('v128', 'jump cache: i64 target, i32 record, i32 epoch + mode key; see `cpu/interp/jump-cache.ts`', 8192),
  scratch: f('i64', 'values handed between generated code and TypeScript', 8),

  msrStore: f('i64', 'MSRs that only keep what is written, XOR their reset value; slots in `cpu/msr/table.ts`', 56),

  walkKind: f('i32', 'which paging the page walk of generated code does; see `mmu/walk-kind.ts`'),
  walkReserved: f('i32', 'upper halves of table entries with any of these bits are left to TypeScript'),
  frameTable: f('i32', 'address of the frame table'),
  framePages: f('i32', 'pages the frame table has'),
  tlbFills: f('i32', 'TLB misses dealt with in generated code so far'),
  largePages: f('i64', 'parts of 2 MiB of large pages that were noted: address >> 21, bit 63 set; see `mmu/large-pages.ts`', 2048),

  gateFaults: f('i32', 'page faults that generated code has delivered since they were last counted'),
  gateShut: f('i32', '1 where TypeScript is to deliver every exception'),
  renewals: f('i32', 'entries in `renewed`'),
  renewed: f('i32', 'entries of the code lookup that generated code has renewed; see `cpu/interp/code-renewal.ts`', 64),
} as const satisfies Record<string, FieldSpec>

export type FieldName = keyof typeof FIELDS

function place(): { offsets: Record<FieldName, number>; size: number } {
  const offsets = {} as Record<FieldName, number>
  let at = 0
  for (const name of Object.keys(FIELDS) as FieldName[]) {
    const { type, count } = FIELDS[name]
    const bytes = TYPE_BYTES[type]
    at = Math.ceil(at / bytes) * bytes
    offsets[name] = at
    at += bytes * count
  }
  return { offsets, size: Math.ceil(at / 64) * 64 }
}

const placed = place()

/** Bytes of the vCPU block. */
export const STATE_SIZE = placed.size

/** Byte offset of an element of a field within the vCPU block. */
export function offsetOf(name: FieldName, index = 0): number {
  const spec = FIELDS[name]
  if (index < 0 || index >= spec.count) throw new RangeError(`${name}[${index}] is outside its field`)
  return placed.offsets[name] + index * TYPE_BYTES[spec.type]
}
