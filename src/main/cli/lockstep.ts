/** `nestbox run --lockstep`: the guest on two tiers side by side, until they differ or the guest ends. */
import { join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { NodeClock, NodeWasmEngine } from '../host'
import { Lockstep, LOCKSTEP_DIFFERENCE, type LockstepTier } from '../vmm/machine'
import { VmmError } from '../vmm/errors'
import { MachineLoop } from '../vm-host/loop'
import { readPrebuilt } from '../vm-host/prebuilt'
import type { HostStop } from '../vm-host/protocol'
import { ExitCode } from './exit-codes'
import { KernelFiles } from '../vm-host/kernel-files'
import { buildConfig, exitCodeOf, openStdio, StderrLogger, type RunOptions } from './run'

interface Tiers { readonly reference: LockstepTier; readonly tested: LockstepTier }

/** `LOW,HIGH`; the lower one is taken to be right. */
export function parseLockstep(text: string | true): Tiers {
  if (text === true) return { reference: 0, tested: 2 }
  const match = /^([012]),([012])$/.exec(text)
  if (!match || Number(match[1]) > Number(match[2])) {
    throw new VmmError('bad-config', `--lockstep ${text}: must be two tiers, the lower one first, such as 0,2`)
  }
  return { reference: Number(match[1]) as LockstepTier, tested: Number(match[2]) as LockstepTier }
}

function conclude(reason: HostStop, { reference, tested }: Tiers, { figures }: Lockstep): void {
  if (reason.kind === 'error' && reason.code === LOCKSTEP_DIFFERENCE) return void process.stderr.write(`\n${reason.message}`)
  if (reason.kind === 'triple-fault') process.stderr.write(`\nnestbox: the guest crashed (${reason.detail}), on both tiers alike\n`)
  if (reason.kind === 'error') process.stderr.write(`\nnestbox: ${reason.code}: ${reason.message}\n`)
  const { instructions, steps, comparedPages } = figures
  process.stderr.write(`\nTiers ${reference} and ${tested} did the same in ${instructions} instructions (registers compared ${steps} times, ${comparedPages} written pages).\n`)
}

/** Runs a guest to its end or to the first difference. Returns the process's exit code. @throws VmmError for bad input */
export async function runLockstep(options: RunOptions): Promise<number> {
  const tiers = parseLockstep(options.lockstep ?? true)
  if (options.disk.length > 0) throw new VmmError('bad-config', '--lockstep runs without --disk: disks answer at no fixed instruction')
  const kernel = new KernelFiles({ kernel: options.kernel, initrd: options.initrd, commandLine: options.append })
  const config = buildConfig(options, kernel, [])
  let quit = false
  let loop: MachineLoop | undefined
  const { consoles, close } = openStdio('ttyS0', () => {
    quit = true
    loop?.stop({ kind: 'power-off' })
  })
  const line = consoles.ttyS0
  try {
    const { interpreter } = readPrebuilt(join(__dirname, '..', 'main'), __filename)
    const lockstep = new Lockstep({
      config, tiers, wasm: () => new NodeWasmEngine(), ...(interpreter ? { interpreter } : {}), clock: new NodeClock(),
      log: new StderrLogger(options.verbose ?? false), output: (bytes) => line.write(bytes),
    })
    line.onInput((bytes) => lockstep.type(bytes))
    loop = new MachineLoop(lockstep)
    const reason = await loop.run()
    conclude(reason, tiers, lockstep)
    if (options.stats) await writeFile(options.stats, `${JSON.stringify({ stop: reason, ...lockstep.figures }, null, 2)}\n`)
    const differs = reason.kind === 'error' && reason.code === LOCKSTEP_DIFFERENCE
    return quit ? ExitCode.QUIT : differs ? ExitCode.DIFFERENCE : exitCodeOf(reason)
  } finally {
    close()
  }
}
