/** A guest that uses what its processor does not have is given #UD, and whoever runs it is told what it was. */
import { expect, it } from 'vitest'
import { NodeClock, NodeEntropy, NodeWasmEngine } from '../../src/main/host'
import { createMachine } from '../../src/main/vmm/machine'
import { buildTinyKernel } from '../fixtures/tiny-kernel'

/** #UD skips the four bytes of the instruction; three such, two of one kind. */
const USES_AVX = `
  mov rsp, 0x7000
  lea rax, [rel skip]
  mov rdi, 0x6000 + 6 * 16
  mov [rdi], ax
  mov word [rdi + 2], cs
  mov word [rdi + 4], 0x8e00
  shr rax, 16
  mov [rdi + 6], ax
  mov dword [rdi + 8], 0
  lidt [rel idtr]
  db 0xc5, 0xf8, 0x58, 0xc0 ; VADDPS
  db 0xc5, 0xf8, 0x58, 0xc0
  db 0x0f, 0x38, 0xc8, 0xc0 ; SHA1NEXTE
  say 'k'
  poweroff
  hlt
skip:
  add qword [rsp], 4
  iretq
idtr:
  dw 0xff
  dq 0x6000
`

it('is logged once for each opcode, and counted', () => {
  const said: number[] = []
  const logged: unknown[] = []
  const silent = { write: () => undefined, onInput: () => undefined }
  const machine = createMachine({
    name: 'avx', uuid: '11111111-2222-4333-8444-555555555555', memoryMiB: 16, cpuProfile: 'nestbox64', disks: [], onReset: 'stop', maxTier: 0,
    kernel: { image: buildTinyKernel(USES_AVX), commandLine: '' },
  }, {
    clock: new NodeClock(), entropy: new NodeEntropy(), wasm: new NodeWasmEngine(), console: silent,
    log: { log: (level, part, _text, details) => void logged.push({ level, part, ...details }) },
    serial: { write: (bytes) => void said.push(...bytes), onInput: () => undefined },
  })
  machine.resumeClock()
  let result = machine.runSlice(4e6)
  for (let i = 0; i < 200 && result.kind !== 'stopped'; i++) result = machine.runSlice(4e6)
  expect(result).toEqual({ kind: 'stopped', reason: { kind: 'power-off' } })
  expect(String.fromCharCode(...said)).toBe('k')
  const { unimplemented } = machine.figures()
  expect(Object.values(unimplemented).sort()).toEqual([1, 2])
  expect(logged).toEqual(Object.keys(unimplemented).map((name) => ({ level: 'warn', part: 'cpu', reason: 'unimplemented', name })))
})
