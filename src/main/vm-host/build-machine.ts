/** Makes a machine from its launch message: kernel, kept translations, and the state it goes on from. */
import { NodeClock, NodeEntropy } from '../host'
import type { BlockBackend } from '../vmm/ports'
import { createMachine, restoreMachine, type Machine, type MachineConfig, type MachinePorts } from '../vmm/machine'
import { KernelFiles } from './kernel-files'
import type { Note } from './note'
import type { LaunchConfig, StatePlace } from './protocol'
import { StateFile } from './state-file/reader'
import { TouchRecorder } from './touch-recorder'
import { WarmStart } from './warm-start'

/** What the process gives every machine. */
export interface BuildContext {
  /** This program's own file. */
  readonly program: string
  /** As `WarmStartOptions.compiler`. */
  readonly compiler: string | undefined
  readonly ports: Pick<MachinePorts, 'wasm' | 'cpuKit' | 'interpreter' | 'translator' | 'log' | 'serial' | 'console' | 'onDiskFull'>
  readonly warn: Note
}

export interface BuiltMachine {
  readonly machine: Machine
  readonly warmStart: WarmStart | undefined
  /** What it goes on from; whoever has the machine closes it. */
  readonly state: StateFile | undefined
  readonly touches: TouchRecorder | undefined
}

/**
 * @param kernel read before anything else of the machine is begun
 * @throws VmmError as `createMachine` and `restoreMachine`; nothing is left open then
 */
export function buildMachine(config: LaunchConfig, kernel: KernelFiles, disks: readonly BlockBackend[], context: BuildContext): BuiltMachine {
  const warmStart = WarmStart.open({
    folder: config.translationsDir, program: context.program, compiler: context.compiler, guest: { kernelHash: kernel.kernelHash, cpuProfile: config.cpuProfile }, warn: context.warn,
  })
  const machineConfig = configOf(config, kernel, disks)
  const ports: MachinePorts = { clock: new NodeClock(), entropy: new NodeEntropy(), ...context.ports, ...warmStart?.load() }
  const { savedState } = config
  const built = !savedState || savedState.use === 'discard'
    ? { machine: createMachine(machineConfig, ports), state: undefined, touches: undefined }
    : continued(machineConfig, ports, savedState, config.workingSetsDir, context)
  kernel.release()
  return { ...built, warmStart }
}

function configOf(config: LaunchConfig, kernel: KernelFiles, disks: readonly BlockBackend[]): MachineConfig {
  return {
    name: config.name, uuid: config.uuid, generationId: config.generationId, memoryMiB: config.memoryMiB, cpuProfile: config.cpuProfile,
    kernel: () => kernel.read(),
    disks: disks.map((backend, i) => ({ id: `disk${i}`, backend, ...(config.disks[i].queues === undefined ? {} : { queues: config.disks[i].queues }) })),
    maxTier: config.maxTier, onReset: config.onReset,
  }
}

/** What its guest needs first is on its way while it is built. */
function continued(config: MachineConfig, ports: MachinePorts, { path, memoryDir }: StatePlace, workingSetsDir: string | undefined, { warn }: BuildContext): Omit<BuiltMachine, 'warmStart'> {
  const state = StateFile.open(path, memoryDir)
  try {
    const touches = TouchRecorder.open(workingSetsDir, state, warn)
    state.prefetch(touches?.known ?? [])
    return { machine: restoreMachine(config, ports, { state: state.state, memory: state }), state, touches }
  } catch (error) {
    state.close()
    throw error
  }
}
