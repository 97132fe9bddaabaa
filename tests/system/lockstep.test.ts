/** Two tiers side by side: on a bare-metal guest they do the same, and a translation that is wrong is found and named. */
import { describe, expect, it } from 'vitest'
import { NodeClock, NodeWasmEngine } from '../../src/main/host'
import { prebuildInterpreter } from '../../src/main/vmm/cpu/interp/prebuilt'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { Lockstep, LOCKSTEP_DIFFERENCE } from '../../src/main/vmm/machine/lockstep/lockstep'
import type { LockstepTier } from '../../src/main/vmm/machine/lockstep/pair'
import type { StopReason } from '../../src/main/vmm/machine'
import { buildTinyKernel } from '../fixtures/tiny-kernel'
import { LOCKSTEP_GUEST, MARKED } from './lockstep-kernel'

const kernel = buildTinyKernel(LOCKSTEP_GUEST)
const interpreter = prebuildInterpreter(isaRows)
const TIME_LIMIT_MS = 60_000

/** Signed LEB128. */
function sleb(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest >>= 7) {
    const last = (rest >> 6 === 0 || rest >> 6 === -1)
    bytes.push((rest & 0x7f) | (last ? 0 : 0x80))
    if (last) return bytes
  }
}

/** Compiles translated code wrongly: the marked constant comes out one less. */
class BrokenEngine extends NodeWasmEngine {
  broken = 0

  override compile(bytes: Uint8Array): unknown {
    const marked = Buffer.from(sleb(MARKED))
    const copy = Buffer.from(bytes)
    for (let at = copy.indexOf(marked); at >= 0; at = copy.indexOf(marked, at + 1)) {
      copy[at]--
      this.broken++
    }
    return super.compile(copy)
  }
}

interface Run { readonly reason: StopReason; readonly said: string; readonly lockstep: Lockstep; readonly log: string[] }

/** Runs to the end; types a byte once the guest is ready. */
function run(reference: LockstepTier, tested: LockstepTier, testedEngine: () => NodeWasmEngine = () => new NodeWasmEngine()): Run {
  let said = ''
  let typed = false
  const log: string[] = []
  const lockstep = new Lockstep({
    config: {
      name: 'lockstep', uuid: '11111111-2222-4333-8444-555555555555', memoryMiB: 16, cpuProfile: 'nestbox64', disks: [], onReset: 'stop',
      kernel: { image: kernel, commandLine: '' },
    },
    tiers: { reference, tested }, interpreter, clock: new NodeClock(), log: { log: (_level, _component, message) => void log.push(message) },
    wasm: (side) => (side === 'tested' ? testedEngine() : new NodeWasmEngine()),
    output: (bytes) => (said += Buffer.from(bytes).toString('latin1')),
  })
  for (const deadline = Date.now() + TIME_LIMIT_MS; Date.now() < deadline;) {
    const result = lockstep.runSlice(20e6)
    if (result.kind === 'stopped') return { reason: result.reason, said, lockstep, log }
    if (said.includes('r') && !typed) {
      typed = true
      lockstep.type(Uint8Array.of(0x79))
    }
  }
  throw new Error(`the guest did not end; it said ${JSON.stringify(said)}`)
}

describe('lockstep', () => {
  it.each([[0, 1], [0, 2], [1, 2]] as const)('tiers %i and %i do the same to the end', (reference, tested) => {
    const { reason, said, lockstep } = run(reference, tested)
    expect(reason, 'message' in reason ? reason.message : '').toEqual({ kind: 'power-off' })
    expect(said).toBe('ryd')
    expect(lockstep.figures.instructions).toBeGreaterThan(3e6)
    expect(lockstep.figures.steps).toBeGreaterThan(150)
    expect(lockstep.figures.comparedPages).toBeGreaterThan(100)
  })

  it.each([[1, 'translated as a block (tier 1)'], [2, 'translated as a']] as const)('finds a translation of tier %i that is wrong, and names the code', (tested, what) => {
    const engines: BrokenEngine[] = []
    const { reason, log } = run(0, tested, () => {
      engines.push(new BrokenEngine())
      return engines[engines.length - 1]
    })
    expect(engines[0].broken).toBeGreaterThan(0)
    expect(log.join()).toContain('running again')
    expect(reason).toMatchObject({ kind: 'error', code: LOCKSTEP_DIFFERENCE })
    const text = 'message' in reason ? reason.message : ''
    expect(text).toContain(`Tiers 0 and ${tested} differ after`)
    expect(text).toContain('The first difference comes from the code at 0x')
    expect(text).toContain(what)
    expect(text).toMatch(/ {2}05 bd 79 35 01 +add eax,0x13579bd\n/)
    expect(text).toMatch(/^\* rax +[0-9a-f]{16} {2}[0-9a-f]{16} {2}[0-9a-f]{16}$/m)
    expect(text).toMatch(/Memory, by guest-physical address:\n {2}[0-9a-f]{8} {2}tier 0/)
  })
})
