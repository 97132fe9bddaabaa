/** Random damage to kernel images: either a VmmError that says what is wrong, or a boot state within memory. */
import { describe, expect, it } from 'vitest'
import { loadLinux } from '../../src/main/vmm/boot/linux'
import { buildTestKernel } from '../../src/main/vmm/boot/test-kernel'
import { VmmError } from '../../src/main/vmm/errors'
import { TestMemory } from '../../src/main/vmm/virtio/queue/test-memory'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 4000)
const RAM = 16 << 20

function random(seed: number): (below: number) => number {
  let state = (seed * 2654435761) >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

function damage(image: Uint8Array, next: (below: number) => number): Uint8Array {
  const hostile = image.slice(0, next(4) === 0 ? next(image.length) : image.length)
  const extremes = [0, 1, 0x7f, 0x80, 0xff]
  for (let i = next(6); i >= 0; i--) {
    const at = next(3) === 0 ? next(hostile.length) : 0x1f1 + next(0x80)
    if (at < hostile.length) hostile[at] = next(2) === 0 ? extremes[next(5)] : next(256)
  }
  return hostile
}

describe('bzImage', () => {
  it(`damaged ${ROUNDS} times (seed ${SEED}) is refused clearly or loads within memory`, () => {
    const next = random(SEED)
    const memory = new TestMemory(RAM)
    const kernel = buildTestKernel()
    const outcomes = { loaded: 0, refused: 0 }
    for (let round = 0; round < ROUNDS; round++) {
      const image = damage(kernel, next)
      const initrd = next(2) === 0 ? new Uint8Array(next(1 << 16) + 1) : undefined
      try {
        const boot = loadLinux(memory, RAM, { image, initrd, commandLine: 'x'.repeat(next(300)) })
        expect(boot.rip).toBeLessThan(RAM)
        const at = memory.readU32(boot.rsi + 0x218)
        if (initrd) expect(memory.isRam(at, initrd.length) && at >= 0x10_0000, `initrd at ${at}`).toBe(true)
        outcomes.loaded++
      } catch (error) {
        if (!(error instanceof VmmError)) throw error
        expect(['bad-kernel', 'no-memory']).toContain(error.code)
        expect(error.message).not.toMatch(/NaN|undefined|-\d/)
        outcomes.refused++
      }
    }
    expect(outcomes.loaded).toBeGreaterThan(ROUNDS / 20)
    expect(outcomes.refused).toBeGreaterThan(ROUNDS / 20)
  })
})
