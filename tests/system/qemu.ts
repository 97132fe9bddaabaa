/** Test kernels under QEMU's translator (TCG): the oracle. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { KERNEL_AT, MEMORY_MIB } from './rig'

const KERNELS = fileURLToPath(new URL('./kernels/', import.meta.url))
/** isa-debug-exit: (value << 1) | 1. */
const EXITED = (0x10 << 1) | 1

export interface Assembled { readonly image: Uint8Array; readonly file: string }

/** Work files of one test file; `close` removes them. */
export class Workshop {
  private readonly dir = mkdtempSync(join(tmpdir(), 'nestbox-system-'))

  /** @param name of a source in `kernels/`, without its ending @throws where nasm refuses it */
  assemble(name: string): Assembled {
    const file = join(this.dir, `${name}.bin`)
    const { status, stderr, error } = spawnSync('nasm', ['-f', 'bin', '-I', KERNELS, '-o', file, join(KERNELS, `${name}.asm`)], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`nasm ${name}: ${error?.message ?? stderr}`)
    return { image: readFileSync(file), file }
  }

  /** What the kernel wrote under QEMU, ended as `runKernel` ends it. */
  runQemu(kernel: Assembled, name: string): string {
    const boot = join(this.dir, 'boot.bin')
    if (!existsSync(boot)) writeFileSync(boot, this.assemble('boot').image)
    const log = join(this.dir, `${name}.log`)
    const { status, stderr, error } = spawnSync('qemu-system-x86_64', [
      '-machine', 'pc', '-accel', 'tcg', '-m', String(MEMORY_MIB), '-nodefaults', '-display', 'none', '-serial', 'null', '-no-reboot',
      // What our processor has, and no more. The vendor is Intel's so that SYSENTER exists in long mode, as it does here.
      '-cpu', 'max,vendor=GenuineIntel,-la57,-pku,-vme,phys-bits=40,host-phys-bits=off',
      '-bios', boot, '-device', `loader,file=${kernel.file},addr=${KERNEL_AT},force-raw=on`,
      '-debugcon', `file:${log}`, '-device', 'isa-debug-exit,iobase=0xf4,iosize=1',
    ], { encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL' })
    // A kernel that hangs is compared up to there.
    if (error && (error as NodeJS.ErrnoException).code === 'ETIMEDOUT') return `${readFileSync(log, 'latin1')}astray\n`
    if (error) throw error
    // With -no-reboot a triple fault, which resets the machine, ends QEMU with status 0.
    if (status !== EXITED && status !== 0) throw new Error(`qemu ${name}: status ${status} ${stderr}`)
    return `${readFileSync(log, 'latin1')}${status === EXITED ? 'exit' : 'triple fault'}\n`
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true })
  }
}
