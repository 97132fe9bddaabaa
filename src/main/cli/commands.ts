/** Every verb but `run`: they talk to the manager, or are it, or work on files. */
import type { Command } from 'commander'
import { addCloneCommands } from './clones'
import { addCompletionCommand } from './completion'
import { addDiskCommands } from './disk'
import { addImageCommands } from './image'
import { addServeCommands } from './serve'
import { addSnapshotCommands } from './snapshot'
import { addVmCommands } from './vm'

export function addCommands(program: Command): void {
  addCloneCommands(program, addVmCommands(program))
  addSnapshotCommands(program)
  addDiskCommands(program)
  addImageCommands(program)
  addServeCommands(program)
  addCompletionCommand(program)
}
