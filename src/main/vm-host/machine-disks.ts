/** The disks of the machine in this process, also those whose images are still being made. */
import { openDisk, type OpenDisk } from '../host'
import { VmmError } from '../vmm/errors'
import type { BlockBackend } from '../vmm/ports'
import { LateDisk } from './late-disk'
import type { LaunchConfig } from './protocol'

type DiskSettings = LaunchConfig['disks'][number]

export class MachineDisks {
  /** Those that are there. */
  readonly open: OpenDisk[] = []
  private readonly late: { readonly disk: LateDisk; readonly settings: DiskSettings }[] = []
  private opening: Promise<void> = Promise.resolve()

  /** @returns what the guest has in its place @throws as `openDisk`; what was opened before stays open until `close` */
  async add(settings: DiskSettings): Promise<BlockBackend> {
    if (settings.madeFrom === undefined) return this.openNow(settings)
    const disk = await LateDisk.copyOf(settings.madeFrom, settings)
    this.late.push({ disk, settings })
    return disk
  }

  private async openNow({ path, readOnly, format, cache }: DiskSettings): Promise<OpenDisk> {
    const disk = await openDisk(path, readOnly, format, cache)
    this.open.push(disk)
    return disk
  }

  /** What was not there is there now. @throws as `openDisk` */
  openLate(): Promise<void> {
    const opening = (async () => {
      for (const { disk, settings } of this.late.splice(0)) disk.use(await this.openNow(settings))
    })()
    this.opening = opening.catch(() => undefined)
    return opening
  }

  /** Nobody waits any more for what is not there yet. */
  async giveUpLate(): Promise<void> {
    await this.opening
    for (const { disk, settings: { path } } of this.late.splice(0)) {
      await disk.giveUp(new VmmError('disk-io', `${path} is not there yet`, { path })).catch(() => undefined)
    }
  }

  /** @throws VmmError `disk-io`, `disk-full` */
  async flush(): Promise<void> {
    for (const disk of this.open) if (!disk.readOnly) await disk.flush()
  }

  /** @param onFailure what the guest had flushed is safe whatever it is told of */
  async close(onFailure: (error: unknown) => void): Promise<void> {
    await this.giveUpLate()
    for (const disk of this.open) await disk.close().catch(onFailure)
  }
}
