/** A key that is typed at a sleeping machine ends its sleep, though the serial port tells the guest of it only later. */
import { expect, it } from 'vitest'
import { NodeClock, NodeEntropy, NodeWasmEngine } from '../../src/main/host'
import { createMachine } from '../../src/main/vmm/machine'
import { buildTinyKernel } from '../fixtures/tiny-kernel'

/** Has the FIFO on, with an interrupt at eight bytes: a single one is told of when the character timeout is over. */
const WAITS = `
  mov dx, 0x3fa
  mov al, 0x81
  out dx, al
halted:
  hlt
  jmp halted
`

it('one byte below the FIFO’s trigger level wakes the host', () => {
  let type: (bytes: Uint8Array) => void = () => undefined
  const silent = { write: () => undefined, onInput: () => undefined }
  const machine = createMachine({
    name: 'typed', uuid: '11111111-2222-4333-8444-555555555555', memoryMiB: 16, cpuProfile: 'nestbox64', disks: [], onReset: 'stop', maxTier: 1,
    kernel: { image: buildTinyKernel(WAITS), commandLine: '' },
  }, {
    clock: new NodeClock(), entropy: new NodeEntropy(), wasm: new NodeWasmEngine(), log: { log: () => undefined }, console: silent,
    serial: { write: () => undefined, onInput: (receive) => { type = receive } },
  })
  let wakes = 0
  machine.onWake(() => wakes++)
  machine.resumeClock()
  let result = machine.runSlice(4e6)
  for (let i = 0; i < 50 && result.kind === 'busy'; i++) result = machine.runSlice(4e6)
  expect(result.kind).toBe('idle')
  const asleep = result.kind === 'idle' ? result.wakeNs : 0
  wakes = 0
  type(Uint8Array.of(97))
  expect(wakes).toBeGreaterThan(0)
  const next = machine.runSlice(4e6)
  expect(next.kind === 'idle' && next.wakeNs).toBeLessThan(Math.min(asleep, 1e6))
})
