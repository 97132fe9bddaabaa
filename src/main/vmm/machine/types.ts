/** The face the machine shows to `vm-host`: configuration in, events and figures out. */
import type { BackgroundThread, BlockBackend, CharBackend, EntropySource, HostClock, Logger, WasmEngine } from '../ports'
import type { KeptTranslations } from '../cpu/dbt/translation-pack'
import type { PrebuiltInterpreter } from '../cpu/interp/prebuilt'
import type { VmmError } from '../errors'
import type { CpuKit } from './cpu-kit'
import type { LazyRam } from '../memory/lazy-ram'
import type { CaptureScope, RamCapture } from '../memory/ram-capture'
import type { MachineState } from './state/machine-state'

export interface DiskConfig {
  /** Stable name, e.g. `disk0`; also the virtio-blk serial number unless `serial` is given. */
  readonly id: string
  readonly backend: BlockBackend
  /** At most 20 ASCII characters (virtio-blk VIRTIO_BLK_ID_BYTES). */
  readonly serial?: string
  /** Request queues, 1 to 8; one per CPU of the guest, that is 1, unless given. */
  readonly queues?: number
}

export interface KernelConfig {
  /** A bzImage (Linux/x86 boot protocol 2.06 or later). */
  readonly image: Uint8Array
  readonly initrd?: Uint8Array
  readonly commandLine: string
}

export interface MachineConfig {
  readonly name: string
  /** RFC 4122 text form. */
  readonly uuid: string
  /** RFC 4122 text form; another one than a continued guest has seen tells it that it is a copy. The uuid unless given. */
  readonly generationId?: string
  /** Guest RAM in MiB, 16 … 3072. */
  readonly memoryMiB: number
  /** Name of a CPU model in `vmm/cpu/cpuid/profiles`, e.g. `nestbox64`. */
  readonly cpuProfile: string
  /** A function is asked at power-on and at each reset: images need not stay in memory meanwhile. What it throws stops the machine. */
  readonly kernel: KernelConfig | (() => KernelConfig)
  readonly disks: readonly DiskConfig[]
  /** Highest tier the CPU engine may use. */
  readonly maxTier: 0 | 1 | 2
  /** Virtual time advances with executed instructions instead of the host's clock: runs repeat exactly. */
  readonly deterministic?: DeterministicTime
  /** What a guest-requested reset does. */
  readonly onReset: 'reboot' | 'stop'
}

export interface DeterministicTime {
  readonly nsPerInstruction: number
  /** Whoever runs the machine in exact steps tells the time instead: it must stand still within a step. */
  readonly nowNs?: () => number
}

export interface MachinePorts {
  readonly clock: HostClock
  readonly entropy: EntropySource
  readonly wasm: WasmEngine
  /** Tier 0 as it was built with the program; built anew where it is missing or of another table. */
  readonly interpreter?: PrebuiltInterpreter
  /** Made of `interpreter` ahead of the machine; made with it where it is missing. */
  readonly cpuKit?: CpuKit
  /** What `Machine.translations` gave in an earlier run, by the same version of the translator. */
  readonly translations?: KeptTranslations
  /** A thread that runs `serveTranslations`; default: code is translated between two slices. */
  readonly translator?: BackgroundThread
  readonly log: Logger
  /** COM1, the guest's ttyS0. */
  readonly serial: CharBackend
  /** virtio-console port 0, the guest's hvc0. */
  readonly console: CharBackend
  /**
   * A disk found no room on the host. The request is not answered: pause the guest, and call `retryDisks` when there may be room.
   * Told for each request. Without this the guest gets an I/O error.
   */
  readonly onDiskFull?: (error: VmmError) => void
}

export type StopReason =
  | { readonly kind: 'power-off' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'triple-fault'; readonly detail: string }
  | { readonly kind: 'error'; readonly code: string; readonly message: string }

/** Why `runSlice` came back. */
export type SliceResult =
  /** More to do at once. */
  | { readonly kind: 'busy' }
  /** Halted: nothing to do before `wakeNs` nanoseconds from now (Infinity: until an input arrives). `loose`: a millisecond matters little. */
  | { readonly kind: 'idle'; readonly wakeNs: number; readonly loose?: boolean }
  | { readonly kind: 'stopped'; readonly reason: StopReason }
  /** Stands before an access to a page that cannot be loaded (`LazyRam.onFailure` says why); the next slice tries again. */
  | { readonly kind: 'blocked' }

/** Where the guest's time went, sampled: see `profile.ts` for how, and how far it can be trusted. */
export interface OccupancyFigures {
  /**
   * Host time by the tier that ran the guest, and in `host` what translation and compilation took meanwhile. The sum is
   * `guestRunNs` less what no sample has claimed yet.
   */
  readonly tierNs: Readonly<Record<'t0' | 't1' | 't2' | 'host', number>>
  /** The same time without `host`, by privilege level. */
  readonly ringNs: Readonly<Record<'ring0' | 'ring1' | 'ring2' | 'ring3', number>>
  /** The same by CPU mode; only modes that were met. */
  readonly modeNs: Readonly<Partial<Record<CpuModeName, number>>>
  readonly samples: number
}

export type CpuModeName = 'real' | 'virtual-8086' | 'protected-16' | 'protected-32' | 'compatibility-16' | 'compatibility-32' | 'long-64'

/** A block of guest code where samples fell, disassembled. */
export interface HotBlock {
  /** Linear address. */
  readonly address: bigint
  readonly modeKey: number
  readonly mode: CpuModeName
  readonly cpl: number
  /** Tier at the newest sample. */
  readonly tier: 0 | 1 | 2
  readonly samples: number
  /** Host time its samples count for. */
  readonly ns: number
  /** Its instructions as they were at the first sample; bytes in hexadecimal. */
  readonly lines: readonly { readonly address: bigint; readonly bytes: string; readonly text: string }[]
}

export interface TranslationFigures {
  /** Functions translated in this run: blocks (tier 1) and regions (tier 2). */
  readonly blocks: number
  readonly regions: number
  readonly modules: number
  readonly wasmBytes: number
  readonly translateNs: number
  /** Includes what earlier runs translated. */
  readonly compileNs: number
  /** Blocks that began with a translation of an earlier run. */
  readonly adopted: number
}

/** Counters since power-on; all monotonic except `residentGuestBytes`. */
export interface MachineFigures extends OccupancyFigures {
  readonly translations: TranslationFigures
  readonly instructions: number
  readonly guestRunNs: number
  readonly idleNs: number
  readonly exits: Readonly<Record<string, number>>
  readonly interrupts: number
  readonly exceptions: number
  readonly tlbMisses: number
  readonly blocksDecoded: number
  readonly codeInvalidations: number
  readonly disk: Readonly<{ readBytes: number; writtenBytes: number; requests: number }>
  readonly serialBytes: number
  readonly residentGuestBytes: number
  /** Mnemonics of opcodes that raised #UD because they are not implemented, with counts. */
  readonly unimplemented: Readonly<Record<string, number>>
}

/** The machine at one instant. */
export interface MachineCapture {
  readonly state: MachineState
  /** To be taken piece by piece, also while the guest runs on; `end` when done or no longer wanted. One at a time. */
  readonly memory: RamCapture
}

export interface Machine {
  /** Runs the guest for about `budgetNs` of host time. Never throws for guest misbehaviour. */
  runSlice(budgetNs: number): SliceResult
  /** Freezes or continues the guest's clock; call around time not spent in `runSlice`. */
  pauseClock(): void
  resumeClock(): void
  /** Called (at any time between slices) when an input woke the machine from idle. */
  onWake(wake: () => void): void
  /** Presses the ACPI power button. */
  pressPowerButton(): void
  /** Hard reset, as the reset button. */
  reset(): void
  /** A disk request is under way: the guest may go on before its next timer. */
  readonly awaitsHost: boolean
  /** Does again what found no room on the host. */
  retryDisks(): void
  /** Resolves when no disk request is under way, other than such as found no room; call before the disks are closed. */
  drain(): Promise<void>
  /**
   * State and memory of now; call between two slices. Disk requests under way are recorded and start again in the restored
   * machine; `drain` first where the disks themselves are captured too.
   */
  capture(scope?: CaptureScope): MachineCapture
  /** Of a restored machine: memory that is on disk still. */
  readonly lazyRam: LazyRam | undefined
  figures(): MachineFigures
  /** The blocks that took the most time since power-on, most first. */
  hotBlocks(count: number): HotBlock[]
  /** The WebAssembly that a hot block is now, as text; undefined where it is interpreted, or its code is gone. */
  wasmOf(address: bigint, modeKey: number): string | undefined
  /** Translated code worth keeping for the next machine with this guest; undefined where there is nothing new. */
  translations(): Uint8Array | undefined
  /** The guest is quiet after much work: many modules of translated code become one. Resolves when it is done, or there was nothing to do. */
  mergeTranslations(): Promise<void>
  /** The guest is quiet after much work: buffers of its disk requests are let go. */
  releaseBuffers(): void
  /** The thread that translates runs, though it may have nothing to do. */
  readonly hasTranslatorRunning: boolean
  /** That thread has a job: until it answers, modules cannot be put together. */
  readonly isTranslating: boolean
  /** The guest is quiet: the thread that translates ends, until there is work for it again. Resolves with whether it ended, when it is gone. */
  restTranslator(): Promise<boolean>
  /** Readable one-page state for crash reports: registers, mode, last exits. */
  describe(): string
}
