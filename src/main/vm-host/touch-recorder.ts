/** Notes which pages a continued guest needs in its first moments, and keeps that for the next time. A failure costs only speed. */
import type { LazyRam } from '../vmm/machine'
import { detailOf, reasonOf, type Note } from './note'
import type { StateFile } from './state-file/reader'
import { MOST_PAGES, WorkingSets } from './working-sets'

/** How long a guest's first moments are: until its shell has answered, or its server the first request. */
const RECORD_MS = 2000

export class TouchRecorder {
  private timer: NodeJS.Timeout | undefined
  private lazy: LazyRam | undefined
  /** What an earlier guest needed that went on from the same state. */
  readonly known: readonly number[]

  /** Of a guest that is to go on from `file`. @param folder undefined: nothing is noted */
  static open(folder: string | undefined, file: StateFile, warn: Note): TouchRecorder | undefined {
    // States of the first version have no id to keep the list under.
    return folder === undefined || file.header.id === '' ? undefined : new TouchRecorder(new WorkingSets(folder), file, warn)
  }

  private constructor(private readonly sets: WorkingSets, private readonly file: StateFile, private readonly warn: Note) {
    this.known = sets.load(file.header.id, file.pageCount)
  }

  /** Before the guest's first instruction. */
  begin(lazy: LazyRam): void {
    this.lazy = lazy
    lazy.record(MOST_PAGES)
    this.timer = setTimeout(() => this.finish(true), RECORD_MS)
    this.timer.unref()
  }

  /** Before its time: the machine is paused, saved or off. What is known of a longer stretch is better than this. */
  end(): void {
    this.finish(false)
  }

  private finish(isWhole: boolean): void {
    const { file, lazy, known } = this
    if (!lazy) return
    this.lazy = undefined
    clearTimeout(this.timer)
    lazy.endRecording()
    if (lazy.workingSet.length === 0 || (!isWhole && known.length > 0)) return
    try {
      this.sets.save(file.header.id, file.pageCount, lazy.workingSet)
    } catch (error) {
      this.warn(`what the guest needed first was not kept: ${reasonOf(error)}`, { reason: 'workingSetNotKept', ...detailOf(error) })
    }
  }
}
