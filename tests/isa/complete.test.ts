/**
 * Nothing is missing: every opcode binutils knows is decoded, in every mode, or belongs to an extension that x86-64-v2 and our
 * CPU models do not have. `decode-objdump.test.ts` goes the other way and starts from our rows.
 */
import { describe, expect, it } from 'vitest'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { MODE_KEYS } from './generate'
import { listedName, listingOf, type Listed } from './objdump'
import type { CpuMode } from './records'

const SLOT = 16
const MAPS = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]] as const
const PREFIXES = [[], [0x66], [0xf3], [0xf2]] as const
const decode = createDecoder(isaRows, () => true)

/** ModRM with every /r: of a register, and of memory by a base and a byte. */
const MODRM = Array.from({ length: 8 }, (_, reg) => [0xc0 | (reg << 3), 0x45 | (reg << 3)]).flat()
/** Every register too, for what goes on in r/m: x87, and the groups of 0F 01 and 0F AE. */
const EVERY_MODRM = [...MODRM, ...Array.from({ length: 64 }, (_, i) => 0xc0 | i)]
const goesOn = (map: readonly number[], opcode: number): boolean =>
  map.length === 0 ? opcode >= 0xd8 && opcode < 0xe0 : map.length === 1 && [0x01, 0xae].includes(opcode)

/** Bytes of the first map that are prefixes or lead to another map. */
function isPrefix(opcode: number, mode: CpuMode): boolean {
  const always = [0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(opcode)
  return always || (mode === 64 && opcode >= 0x40 && opcode < 0x50)
}

/** Every opcode of the four maps with every mandatory prefix and ModRM of interest, in 64-bit mode with and without REX.W. */
function everyOpcode(mode: CpuMode): number[][] {
  const starts = PREFIXES.flatMap((prefix) => (mode === 64 ? [[], [0x48]] : [[]]).map((rex) => [...prefix, ...rex]))
  const opcodes = MAPS.flatMap((map) => Array.from({ length: 256 }, (_, opcode) => ({ map, opcode })))
    .filter(({ map, opcode }) => map.length > 0 || !isPrefix(opcode, mode))
  return opcodes.flatMap(({ map, opcode }) => starts.flatMap((start) =>
    (goesOn(map, opcode) ? EVERY_MODRM : MODRM).map((modrm) => [...start, ...map, opcode, modrm])))
}

/** MOV of a segment register above GS or into CS, of a control or debug register that is none, and of the 80386's test registers. */
function isNoRegister([opcode, next]: readonly number[]): boolean {
  if (opcode === 0x0f) return next >= 0x20 && next <= 0x26
  const segment = (next >> 3) & 7
  return (opcode === 0x8c || opcode === 0x8e) && (segment > 5 || (opcode === 0x8e && segment === 1))
}

function undecoded(mode: CpuMode): Map<string, string> {
  const samples = everyOpcode(mode)
  const image = new Uint8Array(samples.length * SLOT).fill(0x90)
  samples.forEach((bytes, i) => image.set(bytes, i * SLOT))
  const listing = listingOf(image, mode)
  const missing = new Map<string, string>()
  samples.forEach((bytes, i) => {
    const listed = listing.get(i * SLOT)
    if (!listed || isNothing(listed) || decode(image, i * SLOT, SLOT, MODE_KEYS[mode]).ok) return
    const name = listedName(listed.text)
    if (!isForbidden(bytes, name, mode)) missing.set(name, bytes.map((b) => b.toString(16).padStart(2, '0')).join(' '))
  })
  return missing
}

/** binutils takes prefixes that the manual forbids ("NP"), registers that do not exist, and 64-bit mode's instructions in others. */
function isForbidden(bytes: readonly number[], name: string, mode: CpuMode): boolean {
  const at = bytes.findIndex((byte) => ![0x66, 0xf2, 0xf3, 0x48].includes(byte))
  const opcode = bytes.slice(at)
  const unprefixed = decode(Uint8Array.from([...opcode, ...new Array<number>(SLOT).fill(0x90)]), 0, SLOT, MODE_KEYS[mode])
  if (unprefixed.ok && at > 0) return unprefixed.insn.row.mnemonic.toLowerCase() === name.replace(/64$/, '')
  if (name === 'mov') return isNoRegister(opcode)
  return mode !== 64 && /^(swapgs|(rd|wr)[fg]sbase)$/.test(name)
}

const isNothing = ({ text }: Listed): boolean => text.includes('(bad)') || listedName(text) === ''

/** What binutils knows of other processors and of later levels, by extension. */
const NOT_OFFERED = new RegExp(`^(${[
  // The 80287's, gone with the 80387.
  'frstpm',
  // AVX-512, TSX, MPX and SGX.
  'kmov.', 'x(abort|begin.?|end|test)', 'x(sus|res)ldtrk', 'encl[suv]',
  // VMX, SVM, TDX, SEV and SMX.
  'vm(run|load|save|launch|resume|xon|xoff|read|write|func|clear|ptrld|ptrst|gexit)', 'inv(ept|vpid|lpga|lpgb)', 'tlbsync', '(st|cl)gi', 'skinit',
  'vmcall', 'monitor', 'mwait', 'tdcall', 'seam(ret|ops|call)', 'rmp(query|adjust|update)', 'psmash', 'pvalidate', 'getsec', 'pconfig',
  // Shadow stacks, protection keys, user interrupts, key locker.
  'setssbsy', 'clrssbsy', 'rstorssp', 'saveprevssp', 'incssp[dq]', 'wru?ss[dq]', '(rd|wr)pkru', 'uiret', 'testui', '(cl|st)ui', 'loadiwkey',
  'aes(enc|dec)(wide)?(128|256)kl', 'encodekey(128|256)',
  // AES, SHA, carry-less products, Galois fields, and the cryptography of VIA.
  'aes(enc|dec)(last)?', 'aesimc', 'aeskeygenassist', 'pclmulqdq', 'sha(1|256)\\w+', 'gf2p8\\w+', 'montmul', 'xsha(1|256)', 'xstore-rng', 'xcrypt-\\w+',
  // 3DNow!, SSE4a.
  'femms', 'pfcmpge', 'pf\\w+', 'movnts[sd]', 'extrq', 'insertq',
  // Later than the level, one bit of CPUID each.
  'adcx', 'adox', 'movdir(64b|i)', 'enqcmds?', 'a(add|and|or|xor)', 'clwb', 'clzero', 'hreset', 'mcommit', 'monitorx', 'mwaitx', 'ptwrite', 'rdpru',
  'serialize', 'tpause', 'u(monitor|mwait)', '(rd|wr)msrlist', 'wrmsrns', 'xsaveopt(64)?', 'xsave[cs](64)?', 'xrstors(64)?',
].join('|')})$`)

describe.each([64, 32, 16] as const)('in %i-bit mode', (mode) => {
  it('every instruction of the CPU models is decoded', () => {
    const missing = undecoded(mode)
    expect([...missing].filter(([name]) => !NOT_OFFERED.test(name))).toEqual([])
    // Were nothing compared, nothing would be missing either.
    expect(missing.size).toBeGreaterThan(100)
  })
})
