/** The kernel a machine boots, as files: some 15 MB that need not stay in memory once the guest has its copy. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { systemCauseOf } from '../host/system-cause'
import { VmmError } from '../vmm/errors'
import type { KernelConfig } from '../vmm/machine'

export interface KernelPaths {
  readonly kernel: string
  /** Undefined or '': none. */
  readonly initrd: string | undefined
  readonly commandLine: string
}

/** @throws VmmError `bad-config` naming the file */
function readImage(what: string, path: string): Uint8Array {
  try {
    return readFileSync(path)
  } catch (cause) {
    const why = systemCauseOf(cause)
    throw new VmmError('bad-config', `cannot read the ${what} ${path}: ${why.detail}`, { reason: 'fileNotRead', what, path, ...why }, { cause })
  }
}

export class KernelFiles {
  /** SHA-256 of the kernel. */
  readonly kernelHash: string
  /** What the hash is of: the first boot takes it. */
  private first: KernelConfig | undefined

  /** @throws VmmError `bad-config` where a file cannot be read: before anything else of the machine is begun */
  constructor(private readonly paths: KernelPaths) {
    this.first = this.readFiles()
    this.kernelHash = createHash('sha256').update(this.first.image).digest('hex')
  }

  private readFiles(): KernelConfig {
    const { kernel, initrd, commandLine } = this.paths
    return { image: readImage('kernel', kernel), commandLine, ...(initrd ? { initrd: readImage('initial RAM disk', initrd) } : {}) }
  }

  /** What was in the files at first; from the second time on, for resets, what is in them now. @throws VmmError as the constructor */
  read(): KernelConfig {
    const { first } = this
    this.first = undefined
    return first ?? this.readFiles()
  }

  /** A machine that goes on from a saved state needs no kernel until it is reset: what was read at first is not kept for that. */
  release(): void {
    this.first = undefined
  }
}
