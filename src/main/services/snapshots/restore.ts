/**
 * Going back to a snapshot. All that takes time or can fail is done beside the present, which runs on meanwhile: the disks of the
 * snapshot are copied, the present is kept, a process makes the machine that will run. Then a journal decides (`switch.ts`).
 */
import { randomUUID } from 'node:crypto'
import { link, lstat, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { MachineSettings } from '../../../preload/contract'
import { copyImage, shareBlocks, syncFile } from '../../host/copy-file'
import { requireOpenable } from '../disks/openable'
import { ServiceError, writeError } from '../errors'
import { makeFolder } from '../files'
import { logFolder } from '../machine-log'
import type { Held, MachineRuntime } from '../runtime'
import type { MachineRecord, Progress } from '../types'
import { giveName } from './memory'
import { copyAtRest, plannedSnapshot, presenceOf, type DiskCopy } from './present'
import type { SnapshotRecord } from './records'
import { RESTORED_SUFFIX, SavedState } from './saved-state'
import { STATE_FILE, type SnapshotStore } from './store'
import { beginSwitch, cancelSwitch, performSwitch, type Filling, type Switch } from './switch'

export interface RestoreTask {
  readonly runtime: MachineRuntime
  readonly screen: (id: string) => string
  /** Nobody else writes the machine's disks. @throws ServiceError machine-busy */
  readonly checkDisksFree: (record: MachineRecord) => Promise<void>
  readonly record: MachineRecord
  readonly store: SnapshotStore
  readonly target: SnapshotRecord
  /** Name of the snapshot that keeps the present; undefined: it is lost. */
  readonly undoName: string | undefined
  /** Its memory comes back, where it has one; otherwise disks and settings alone, and the machine is off. */
  readonly withState: boolean
  /** As `finishSwitch` has it. */
  readonly apply: (change: Switch) => Promise<void>
}

/** What a snapshot brings back: everything the guest or its boot sees. How the machine is called and filed stays. */
function hardwareOf({ memoryMiB, cpuProfile, kernel, initrd, commandLine, disks, onReset, maxTier }: MachineSettings): Partial<MachineSettings> {
  return { memoryMiB, cpuProfile, kernel, initrd, commandLine, disks, onReset, maxTier }
}

/** What takes less long is copied before the machine runs. */
const WORTH_FILLING_BYTES = 32 << 20
/** What the guest writes, and others, until an image is copied. */
const ROOM_BYTES = 256 << 20

/** An image that takes long to copy, and for which there is room: a machine can begin to run without its copy. */
async function canBeLate(image: string, to: string): Promise<boolean> {
  const [{ blocks }, { bavail, bsize }] = await Promise.all([stat(image), statfs(dirname(to))])
  if (blocks * 512 < WORTH_FILLING_BYTES || bavail * bsize < blocks * 512 + ROOM_BYTES) return false
  // Where blocks are shared no copy takes long.
  const isShared = await shareBlocks(image, to)
  if (isShared) await rm(to)
  return !isShared
}

/** An image that nothing else names can be given to a snapshot as it is, where it is about to be replaced. @returns false where that cannot be */
async function moveByName(from: string, to: string): Promise<boolean> {
  try {
    const stat = await lstat(from)
    if (!stat.isFile() || stat.nlink !== 1) return false
    await link(from, to)
    return true
  } catch {
    return false
  }
}

export class Restore {
  private readonly saved: SavedState
  private readonly generationId = randomUUID()
  /** Files that are not in place yet. */
  private readonly made: string[] = []
  private undo: SnapshotRecord | undefined
  /** The machine that ran, once it is kept. */
  private held: Held | undefined
  private readonly hasState: boolean
  /** It goes on at once, and reads from the snapshot's disks until it has its own. */
  private mayFill = false

  constructor(private readonly task: RestoreTask) {
    this.saved = new SavedState(task.record.dir)
    this.hasState = task.target.hasState && task.withState
  }

  /**
   * @param start the machine will be started from here: it is prepared for that
   * @returns `undo`: id of the snapshot that keeps the present; `filling`: disks that are not there yet, of a machine that goes on
   * @throws ServiceError wrong-state, machine-crashed, disk-full, library-read-only, machine-busy, state-damaged, state-mismatch,
   *   bad-disk, bad-kernel; AbortError. The present is as it was
   */
  async perform(start: boolean, progress: Progress): Promise<{ undo: string | null; filling: Filling | undefined }> {
    const { runtime, record, undoName } = this.task
    const { isOn } = presenceOf(runtime, record)
    const isLost = undoName === undefined
    if (this.hasState && (start || isLost)) this.prepare(isLost)
    this.mayFill = start && this.hasState
    let isWanted = false
    try {
      await this.begin(isOn, progress)
      const filling = await this.finish(isOn)
      isWanted = start
      return { undo: this.undo?.id ?? null, filling }
    } finally {
      runtime.restored(record.id)
      if (!isWanted) runtime.unprepare(record.id)
    }
  }

  private async begin(isOn: boolean, progress: Progress): Promise<void> {
    try {
      // Each is to have ended before what they made is taken away.
      const [beside, kept, proven] = await Promise.allSettled([this.putBeside(progress), this.keepPresent(isOn, progress), this.proveMachine(progress)])
      if (kept.status === 'rejected') throw kept.reason
      if (beside.status === 'rejected') throw beside.reason
      if (proven.status === 'rejected') throw proven.reason
      progress.signal.throwIfAborted()
      await beginSwitch(this.task.store.folder, { ...this.switch(), ...beside.value, moves: [...this.undoMove(), ...beside.value.moves] })
    } catch (error) {
      await this.giveUp(isOn)
      progress.signal.throwIfAborted()
      throw writeError(error, this.task.record.dir)
    }
  }

  private async finish(isOn: boolean): Promise<Filling | undefined> {
    const ended = this.endPresent(isOn)
    let filling: Filling | undefined
    try {
      filling = await performSwitch(this.task.store.folder, this.task.apply)
    } finally {
      await ended
    }
    await this.saved.clearResume()
    await this.saved.memory.collect()
    return filling
  }

  /** @param wholeState what is there now will be lost: nothing of what takes its place may be missing */
  private prepare(wholeState: boolean): void {
    const { runtime, record, store, target } = this.task
    const { id, dir } = record
    const settings = { ...record.settings, ...hardwareOf(target.settings) }
    const copies = new Map(target.disks.map(({ path, file }) => [path, store.pathOf(target.id, file)]))
    const images = settings.disks.map(({ path }) => copies.get(path) ?? path)
    const state = { path: store.pathOf(target.id, STATE_FILE), memoryDir: this.saved.memory.folder }
    runtime.prepare({ id, settings, logDir: logFolder(dir), generationId: this.generationId }, state, images, wholeState)
  }

  /** What was prepared is built, out of the very files. @throws ServiceError with the reason it cannot be */
  private async proveMachine({ signal }: Progress): Promise<void> {
    const { runtime, record } = this.task
    const dropIt = (): void => runtime.unprepare(record.id)
    signal.addEventListener('abort', dropIt, { once: true })
    try {
      await runtime.requirePrepared(record.id)
    } catch (error) {
      // There will be room once the present has ended; its files were looked at before.
      if (!(error instanceof ServiceError && error.code === 'not-enough-memory')) throw error
    } finally {
      signal.removeEventListener('abort', dropIt)
    }
  }

  private switch(): Omit<Switch, 'moves' | 'fills'> {
    const { target } = this.task
    return { version: 1, removals: this.hasState ? [] : [this.saved.path], settings: hardwareOf(target.settings), current: target.id, generationId: this.generationId }
  }

  /** The snapshot that keeps the present appears. */
  private undoMove(): Switch['moves'] {
    const { store } = this.task
    return this.undo ? [{ from: store.asideOf(this.undo.id), to: store.pathOf(this.undo.id) }] : []
  }

  /** A disk that no machine could open is no reason to give up the one that is there. @throws ServiceError bad-disk, file-missing */
  private async checkImages(): Promise<void> {
    const { store, target: { id, disks, settings } } = this.task
    for (const { path, file } of disks) {
      await requireOpenable(store.pathOf(id, file), settings.disks.find((disk) => disk.path === path)?.format)
    }
  }

  /** The snapshot's files, each beside the one it will replace; of disks that take long only where they are to be copied from. */
  private async putBeside(progress: Progress): Promise<Required<Pick<Switch, 'moves' | 'fills'>>> {
    const { store, target } = this.task
    const moves: Switch['moves'] = []
    const fills: NonNullable<Switch['fills']> = []
    await this.checkImages()
    for (const [i, { path, file }] of target.disks.entries()) {
      const image = store.pathOf(target.id, file)
      const beside = await this.besideOf(path)
      const onProgress = (done: number, total: number): void => progress.report((i + done / Math.max(1, total)) / target.disks.length)
      if (this.mayFill && await canBeLate(image, beside)) fills.push({ from: image, to: path })
      else {
        await copyImage(image, beside, { signal: progress.signal, onProgress })
        moves.push({ from: beside, to: path })
      }
    }
    if (this.hasState) {
      await this.saved.prepare()
      const beside = await this.besideOf(this.saved.path)
      await giveName(store.pathOf(target.id, STATE_FILE), beside)
      moves.push({ from: beside, to: this.saved.path })
    }
    await makeFolder(store.folder)
    return { moves, fills }
  }

  private async besideOf(path: string): Promise<string> {
    const beside = path + RESTORED_SUFFIX
    await rm(beside, { force: true })
    this.made.push(beside)
    return beside
  }

  /** Into a snapshot that appears with the journal. A machine that runs stands from then on. */
  private async keepPresent(isOn: boolean, progress: Progress): Promise<void> {
    const { runtime, record, store, undoName, screen } = this.task
    if (undoName === undefined) return
    const undo = this.undo = { ...await plannedSnapshot(runtime, record, store), name: undoName, notes: '', kind: 'undo' }
    if (!isOn) await this.task.checkDisksFree(record)
    await store.make(undo, screen(record.id), async (folder) => {
      const { moved, copies } = await this.takeDisks(undo, folder)
      const state = join(folder, STATE_FILE)
      if (isOn) this.held = await runtime.saveAndHold(record.id, state, copies, progress)
      else await copyAtRest(record, copies, undo.hasState ? state : undefined, progress)
      for (const path of moved) await syncFile(path)
    })
  }

  /** @returns those that the snapshot has by name now, and those that have to be copied */
  private async takeDisks({ disks }: SnapshotRecord, folder: string): Promise<{ moved: string[]; copies: DiskCopy[] }> {
    const replaced = new Set(this.task.target.disks.map(({ path }) => path))
    const moved: string[] = []
    const copies: DiskCopy[] = []
    for (const { path: from, file } of disks) {
      const to = join(folder, file)
      if (replaced.has(from) && await moveByName(from, to)) moved.push(to)
      else copies.push({ from, to })
    }
    return { moved, copies }
  }

  /** What ran is in the snapshot that keeps it, or is not wanted. */
  private async endPresent(isOn: boolean): Promise<void> {
    const { runtime, record } = this.task
    if (this.held) await this.held.end()
    else if (isOn && runtime.settingsOf(record.id)) await runtime.forceStop(record.id, 'restoring')
  }

  private async giveUp(isOn: boolean): Promise<void> {
    // What is written down will be done: where it cannot be struck off, nothing may run.
    if (!(await cancelSwitch(this.task.store.folder))) return this.endPresent(isOn)
    this.held?.goOn()
    if (this.undo) await this.task.store.discard(this.undo.id)
    for (const path of this.made) await rm(path, { force: true }).catch(() => undefined)
  }
}
