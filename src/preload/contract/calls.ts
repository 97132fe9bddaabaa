/** Every call: what it takes and what it gives. The handlers, the preload bridge and the renderer are typed from this table. */
import { z } from 'zod'
import { consolePort } from './console'
import { disk, diskCheck, diskCompacted, imageFormat } from './disk'
import { folder, pickRequest } from './host'
import { codeAddress, hotBlock, logLine, machine, machineFigures, machineId, machineSettings, saveFigures, trashItem } from './machine'
import { preferences } from './preferences'
import { snapshot, snapshotName, snapshotNotes, snapshotTree } from './snapshot'
import { image, task } from './task'
import { archiveFormat, cloudInit, exported, imported, template } from './transfer'

const nothing = z.object({})
const filePath = z.string().min(1).max(4096)
const byId = z.object({ id: machineId })
const none = z.undefined()
/** A machine needs a name and something to boot; everything else has a default. */
const newMachine = machineSettings.partial().extend({ name: machineSettings.shape.name })

const call = <P extends z.ZodType, R extends z.ZodType>(params: P, result: R): { params: P; result: R } => ({ params, result })

export const calls = {
  'host.info': call(nothing, z.object({
    version: z.string(),
    libraryPath: z.string(),
    cpuProfiles: z.array(z.string()),
    defaults: machineSettings.omit({ name: true }),
    /** Of the process that holds the library. */
    pid: z.number(),
  })),

  /** A folder of the manager's computer: the home folder unless `path` names one, or a file in one. */
  'host.folder': call(z.object({ path: z.string().min(1).max(4096).optional() }), folder),
  /** The desktop's own file dialog; `unsupported` where there is none. null: none was chosen. */
  'host.pickFile': call(pickRequest, z.object({ path: z.string().nullable() })),

  'preferences.get': call(nothing, preferences),
  'preferences.set': call(preferences.partial(), preferences),

  'machine.list': call(nothing, z.array(machine)),
  /** Names that are taken by machines which are not there yet: they are being made. */
  'machine.claimedNames': call(nothing, z.array(z.string())),
  'machine.get': call(byId, machine),
  /**
   * With `image`, kernel, initrd and command line come from it; it is built or fetched first when it is not ready.
   * With `template`, everything that `settings` leaves out. From a template with a state the machine is `saved` and goes on at
   * its start, unless `withState` is false; memory, CPU model and cloud-init can be given only where it boots. Its disks are laid
   * over the template's, which then cannot be deleted, unless `linked` is false.
   */
  'machine.create': call(z.object({
    settings: newMachine, image: z.string().optional(), template: machineId.optional(), linked: z.boolean().optional(), withState: z.boolean().optional(),
    cloudInit: cloudInit.optional(),
  }), machine),
  /**
   * A machine of its own like this one as it is now (off or suspended), or as in a snapshot. `linked`: its disks hold only what
   * differs; the template or snapshot it is made from (one is taken where it is neither, called `snapshotName`) then cannot be deleted.
   * Without a name the first free one like it.
   */
  'machine.clone': call(z.object({
    id: machineId, name: machineSettings.shape.name.optional(), snapshotId: z.string().uuid().optional(), linked: z.boolean().optional(), snapshotName: snapshotName.optional(),
  }), machine),
  /** A second machine that goes on from this instant of a running one. Resolves when both run. */
  'machine.fork': call(z.object({ id: machineId, name: machineSettings.shape.name.optional() }), machine.extend({ pauseMs: z.number() })),
  /**
   * Into a new file (absolute path); one that is there is refused with `name-taken` unless `overwrite` is given. The format is that
   * of the file's name (`.nestbox`, `.ova`) where it is not given.
   */
  'machine.export': call(z.object({
    id: machineId, path: z.string().min(1).max(4096), format: archiveFormat.optional(), overwrite: z.boolean().optional(),
    /** Of `nestbox` archives; true unless given. */
    snapshots: z.boolean().optional(),
  }), exported),
  /** A new machine from a file: our own archive, OVA or OVF. */
  'machine.import': call(z.object({ path: z.string().min(1).max(4096), name: machineSettings.shape.name.optional() }), imported),
  'machine.update': call(z.object({ id: machineId, settings: machineSettings.partial() }), machine),
  /**
   * Resolves when the machine runs. A saved machine goes on where it was; with `fresh` it boots, and the saved state is gone
   * once it runs. A state that cannot be used is refused with `state-mismatch` or `state-damaged`, and kept.
   */
  'machine.start': call(z.object({ id: machineId, fresh: z.boolean().optional() }), none),
  /** Writes memory and devices to disk and ends the machine: resolves when it is `saved`. A task shows progress and can cancel. */
  'machine.suspend': call(byId, saveFigures),
  /** The saved machine is as if its plug had been pulled. */
  'machine.discardSaved': call(byId, none),
  'machine.pause': call(byId, none),
  'machine.resume': call(byId, none),
  /** Presses the ACPI power button; resolves at once. */
  'machine.powerOff': call(byId, none),
  /** Resolves when the machine is stopped. */
  'machine.forceStop': call(byId, none),
  'machine.reset': call(byId, none),
  'machine.figures': call(byId, machineFigures.nullable()),
  /** Guest code that took the most time since power-on, most first; of a machine that runs or is paused. */
  'machine.hotBlocks': call(z.object({ id: machineId, count: z.number().int().min(1).max(200).optional() }), z.array(hotBlock)),
  /** The WebAssembly such a block is now, as text; null where it is interpreted or its code is gone. */
  'machine.wasmOf': call(z.object({ id: machineId, address: codeAddress, modeKey: z.number().int() }), z.object({ text: z.string().nullable() })),
  'machine.log': call(z.object({ id: machineId, lines: z.number().int().min(1).max(10_000).optional() }), z.array(logLine)),
  /** Moves a stopped machine to the trash; its name is free at once. */
  'machine.delete': call(byId, trashItem),

  'snapshot.list': call(byId, snapshotTree),
  /** Of a stopped, suspended or running machine; the latter goes on, and stands only for `pauseMs`. */
  'snapshot.take': call(z.object({ id: machineId, name: snapshotName.optional(), notes: snapshotNotes.optional() }), snapshot.extend({ pauseMs: z.number().optional() })),
  /**
   * What is there now is kept as a snapshot (`undo`; called `undoName` or the first free name like it) unless `keepCurrent` is false. With `start` the machine goes on at once. A state
   * that cannot be used is refused with `state-mismatch` or `state-damaged`, and nothing is changed; with `withState` false disks and
   * settings come back without the memory, and the machine is off.
   */
  'snapshot.restore': call(z.object({
    id: machineId, snapshotId: z.string(), keepCurrent: z.boolean().optional(), start: z.boolean().optional(), withState: z.boolean().optional(),
    undoName: snapshotName.optional(),
  }), z.object({ undo: z.string().nullable() })),
  /** Its children stay as they are. */
  'snapshot.delete': call(z.object({ id: machineId, snapshotId: z.string() }), none),
  'snapshot.change': call(z.object({ id: machineId, snapshotId: z.string(), name: snapshotName.optional(), notes: snapshotNotes.optional() }), snapshot),

  'template.list': call(nothing, z.array(template)),
  /** Marks a machine that is off or suspended; with `name` a copy of it, and the machine itself stays what it is. */
  'template.create': call(z.object({ id: machineId, name: machineSettings.shape.name.optional() }), machine),
  /** It is a machine like others again. */
  'template.release': call(byId, machine),
  /** To the trash. Refused with `has-clones` while linked clones need it. */
  'template.delete': call(byId, trashItem),

  /** Of all machines, each file once. */
  'disk.list': call(nothing, z.array(disk)),
  'disk.info': call(z.object({ path: filePath }), disk),
  /** A new, empty one. */
  'disk.create': call(z.object({ path: filePath, format: z.enum(['raw', 'qcow2']), sizeBytes: z.number().int().min(512).max(2 ** 46).multipleOf(512) }), disk),
  /** Of qcow2; of other formats `unsupported`. A task shows progress and can cancel. */
  'disk.check': call(z.object({ path: filePath }), diskCheck),
  /** Makes reference counts of a qcow2 image right; the check afterwards. No data is moved. A task shows progress and can cancel. */
  'disk.repair': call(z.object({ path: filePath }), diskCheck),
  /** Gives back what the guest has freed: raw or qcow2, changeable as for `disk.resize`. The old file stays until the new one is whole. A task shows progress and can cancel. */
  'disk.compact': call(z.object({ path: filePath }), diskCompacted),
  /**
   * Says where the file is that a qcow2 image lies over (the one it has, taken as it is now, unless `backing` is given). No data is
   * moved. A file that is not as the image knows it is refused with `bad-disk` and `{ change }` unless `acceptChange` is given.
   */
  'disk.rebase': call(z.object({ path: filePath, backing: filePath.optional(), acceptChange: z.boolean().optional() }), disk),
  /**
   * Another size: raw or qcow2, of no template, not in use, with nothing laid over it. A smaller one loses what is past its end: it is refused
   * with `invalid-argument` and `lostBytes` unless `shrink` is given. A task shows progress and can cancel; the disk is then as it was.
   */
  'disk.resize': call(z.object({ path: filePath, sizeBytes: z.number().int().min(512).max(2 ** 46).multipleOf(512), shrink: z.boolean().optional() }), disk),
  /** A copy in another format, with everything it lies over. A task shows progress and can cancel. */
  'disk.convert': call(z.object({ path: filePath, target: filePath, format: imageFormat }), disk),

  'trash.list': call(nothing, z.array(trashItem)),
  /** Under its old name, or the first free one like it. */
  'trash.restore': call(z.object({ id: z.string() }), machine),
  'trash.purge': call(z.object({ id: z.string() }), none),

  /**
   * Everything said so far comes first, as `console.data` events with this id, then what is new.
   * It stays open while the machine stops and starts, until `console.close` or the client goes.
   * What a guest asks its terminal only one of all that are open is told: the one that was opened, focused or typed into last.
   * `answers: false` is none of them.
   */
  'console.open': call(z.object({ id: machineId, port: consolePort, answers: z.boolean().optional() }), z.object({ consoleId: z.string() })),
  /** Everything said so far that is kept, at once. */
  'console.history': call(z.object({ id: machineId, port: consolePort }), z.object({ text: z.string() })),
  'console.write': call(z.object({ id: machineId, port: consolePort, text: z.string().max(1_000_000) }), none),
  /** The person is at this terminal now. */
  'console.focus': call(z.object({ consoleId: z.string() }), none),
  'console.ack': call(z.object({ consoleId: z.string(), bytes: z.number().int().min(0) }), none),
  'console.close': call(z.object({ consoleId: z.string() }), none),

  'image.list': call(nothing, z.array(image)),
  /** Builds or fetches; resolves with the task that does it. */
  'image.prepare': call(z.object({ id: z.string() }), task),
  'task.list': call(nothing, z.array(task)),
  'task.cancel': call(z.object({ id: z.string() }), none),
} as const

export type Calls = typeof calls
export type CallName = keyof Calls
export type CallParams<N extends CallName> = z.input<Calls[N]['params']>
export type CallResult<N extends CallName> = z.output<Calls[N]['result']>
