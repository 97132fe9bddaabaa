/** A machine built ahead of its launch, while the disks it will have are still made, or in use by the machine whose place it takes. */
import { readStateHeader } from '../host/state-header'
import type { BlockBackend } from '../vmm/ports'
import { buildMachine, type BuildContext, type BuiltMachine } from './build-machine'
import { KernelFiles } from './kernel-files'
import { LateDisk } from './late-disk'
import type { LaunchConfig } from './protocol'

/** All that a machine is made of but the place of its state, which is another one when it is launched, and whether its disks are there. */
const madeOf = ({ savedState, disks, ...config }: LaunchConfig): string =>
  JSON.stringify([config, savedState?.memoryDir, disks.map(({ madeFrom: _, ...disk }) => disk)])

export class MachineAhead {
  private constructor(private readonly config: LaunchConfig, private readonly disks: readonly LateDisk[], readonly built: BuiltMachine) {}

  /** @param images one for each disk, of the same shape @throws what opening the images and `buildMachine` throw */
  static async build(config: LaunchConfig, images: readonly string[], context: BuildContext): Promise<MachineAhead> {
    const kernel = new KernelFiles(config)
    const disks = await Promise.all(config.disks.map((disk, i) => LateDisk.like(images[i], disk)))
    return new MachineAhead(config, disks, buildMachine(config, kernel, disks, context))
  }

  /**
   * The machine with its disks, where it is the one that is to be launched and goes on from the same state.
   * @returns undefined where it is another one
   */
  async launchedAs(config: LaunchConfig, disks: readonly BlockBackend[]): Promise<BuiltMachine | undefined> {
    const { built } = this
    const wanted = config.savedState
    if (wanted === undefined || wanted.use === 'discard' || madeOf(config) !== madeOf(this.config)) return undefined
    const id = (await readStateHeader(wanted.path).catch(() => undefined))?.id
    if (!id || id !== built.state?.header.id || !this.disks.every((late, i) => late.fits(disks[i]))) return undefined
    this.disks.forEach((late, i) => late.use(disks[i]))
    return built
  }

  /** It will never run. */
  drop(): void {
    void this.built.machine.restTranslator()
    this.built.state?.close()
  }
}
