/** A guest that counts the ticks of its PIT keeps the host's time, with a host that is busy now and then. */
import { expect, it } from 'vitest'
import { NodeClock, NodeEntropy, NodeWasmEngine } from '../../src/main/host'
import { MachineLoop } from '../../src/main/vm-host/loop'
import { createMachine } from '../../src/main/vmm/machine'
import { buildTinyKernel } from '../fixtures/tiny-kernel'

/** 200 ticks a second through the PIC; says a dot for each twenty. */
const COUNTER = `
  mov rsp, 0x300000
  lea rax, [rel tick]
  mov rdi, 0x200000 + 0x20 * 16
  mov [rdi], ax
  mov bx, cs
  mov [rdi + 2], bx
  mov word [rdi + 4], 0x8e00
  shr rax, 16
  mov [rdi + 6], ax
  shr rax, 16
  mov [rdi + 8], rax
  lidt [rel idtr]
  mov ebx, 0xfee00000
  mov dword [rbx + 0xf0], 0x1ff
  mov dword [rbx + 0x350], 0x700
%macro byte_out 2
  mov al, %2
  out %1, al
%endmacro
  byte_out 0x20, 0x11
  byte_out 0x21, 0x20
  byte_out 0x21, 4
  byte_out 0x21, 1
  byte_out 0x21, 0xfe
  byte_out 0x43, 0x34
  byte_out 0x40, 5966 & 0xff
  byte_out 0x40, 5966 >> 8
  xor r15d, r15d
  sti
idle:
  hlt
  cmp r15d, 20
  jb idle
  sub r15d, 20
  say '.'
  jmp idle
tick:
  push rax
  inc r15d
  byte_out 0x20, 0x20
  pop rax
  iretq
idtr:
  dw 0x21 * 16 - 1
  dq 0x200000
`
const TICKS_A_DOT = 20
const HZ = 1_193_182 / 5966
const RUN_MS = 3000

it('counts as many ticks as there were', async () => {
  let dots = 0
  const silent = { write: () => undefined, onInput: () => undefined }
  const machine = createMachine({
    name: 'clock', uuid: '11111111-2222-4333-8444-555555555555', memoryMiB: 16, cpuProfile: 'nestbox64', disks: [], onReset: 'stop', maxTier: 1,
    kernel: { image: buildTinyKernel(COUNTER), commandLine: '' },
  }, {
    clock: new NodeClock(), entropy: new NodeEntropy(), wasm: new NodeWasmEngine(), log: { log: () => undefined }, console: silent,
    serial: { ...silent, write: (bytes) => { dots += bytes.length } },
  })
  const loop = new MachineLoop(machine)
  const running = loop.run()
  const start = performance.now()
  // The host is busy for 60 of every 200 ms: twelve ticks are missed each time.
  const busy = setInterval(() => {
    for (const until = performance.now() + 60; performance.now() < until;);
  }, 200)
  await new Promise((resolve) => setTimeout(resolve, RUN_MS))
  clearInterval(busy)
  await new Promise((resolve) => setTimeout(resolve, 400))
  const seconds = (performance.now() - start) / 1000
  loop.stop({ kind: 'power-off' })
  await running
  // Generous: what the computer does besides may stop this process for longer than is made up for.
  const counted = (dots * TICKS_A_DOT) / HZ
  expect(counted).toBeGreaterThan(seconds * 0.85)
  expect(counted).toBeLessThan(seconds * 1.1)
}, 30_000)
