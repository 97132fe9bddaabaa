/** A guest that waits for its user costs nearly nothing. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ManagerRig } from '../state/manager-rig'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'

const GUEST = join(import.meta.dirname, '../../.cache/guests/amd64-cloud')
const BOOT_TIMEOUT = 240_000
/** What a boot leaves behind is put in order first: memory collected, translations merged. How long that takes is the computer's affair. */
const SETTLE_MS = 6_000
const MEASURED_MS = 8_000
const MOST_TRIES = 4
const LIMIT = 0.03
/** Clock ticks of /proc are hundredths of a second on every Linux. */
const TICK_MS = 10

/** Processor time of a process with all its threads, in milliseconds; proc(5), fields 14 and 15 of `stat`. */
function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}

/** Of one processor, from now on. */
async function shareOf(pid: number): Promise<number> {
  const [before, since] = [processorMs(pid), performance.now()]
  await sleep(MEASURED_MS)
  return (processorMs(pid) - before) / (performance.now() - since)
}

describe('an idle Debian', () => {
  let rig: ManagerRig
  let vmHostEntry: string

  beforeAll(() => {
    vmHostEntry = buildVmHostWithInterpreter()
  })
  beforeEach(async () => {
    rig = new ManagerRig(vmHostEntry, 0)
    await rig.open()
  })
  afterEach(() => rig.close())

  it('takes less than 3 % of a processor', async () => {
    const { id } = await rig.create({ memoryMiB: 256, kernel: join(GUEST, 'vmlinuz'), initrd: join(GUEST, 'initrd.gz'), commandLine: 'console=ttyS0' })
    await rig.call('console.open', { id, port: 'ttyS0' })
    await rig.call('machine.start', { id })
    await rig.until('the prompt', () => /NESTBOX-SHELL-READY[^]*# /.test(rig.said), BOOT_TIMEOUT)
    await sleep(SETTLE_MS)
    const { pid = 0 } = await rig.call('machine.get', { id })
    let share = 1
    for (let i = 0; i < MOST_TRIES && share >= LIMIT; i++) share = await shareOf(pid)
    expect(share).toBeLessThan(LIMIT)
    // It is there, and waits.
    await rig.call('console.write', { id, port: 'ttyS0', text: 'echo here-$((40 + 2))\n' })
    await rig.until('an answer', () => rig.said.includes('here-42'))
  }, BOOT_TIMEOUT + 60_000)
})
