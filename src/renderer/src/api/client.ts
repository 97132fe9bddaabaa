/** The api over the contract: one method per thing the interface does, errors as exceptions again. */
import type { CallName, CallParams, CallResult, NestboxBridge } from '@contract/index'
import type { ConsoleSource } from '../console/terminal-session'
import type { Api, CreateSource } from './api'
import { ApiError, toApiError } from './errors'
import type { ConsolePort, MachineSettings } from './types'

/** Every payload of the contract is JSON. Electron's bridge clones what it is given, and refuses the proxies Vue puts around it. */
const plain = <T>(params: T): T => JSON.parse(JSON.stringify(params)) as T

async function call<N extends CallName>(bridge: NestboxBridge, name: N, params: CallParams<N>): Promise<CallResult<N>> {
  const outcome = await bridge.call(name, plain(params))
  if (outcome.ok) return outcome.result
  throw toApiError(outcome.error)
}

/**
 * A console as the terminal wants it. Chunks that arrive before `console.open` has answered are kept:
 * the manager may send the first one before its reply.
 */
export function consoleSource(bridge: NestboxBridge, id: string, port: ConsolePort, onError: (error: unknown) => void): ConsoleSource {
  return {
    async open(onChunk) {
      let consoleId: string | undefined
      const early: { consoleId: string; text: string; bytes: number }[] = []
      const show = (chunk: { consoleId: string; text: string; bytes: number }): void => {
        if (chunk.consoleId !== consoleId) return
        onChunk(chunk.text, () => void bridge.call('console.ack', { consoleId: chunk.consoleId, bytes: chunk.bytes }))
      }
      const stop = bridge.subscribe('console.data', (chunk) => {
        if (consoleId === undefined && chunk.machineId === id && chunk.port === port) early.push(chunk)
        else show(chunk)
      })
      try {
        ({ consoleId } = await call(bridge, 'console.open', { id, port }))
      } catch (error) {
        stop()
        throw error
      }
      early.forEach(show)
      const opened = { consoleId }
      return {
        focus: () => void bridge.call('console.focus', opened),
        close() {
          stop()
          void bridge.call('console.close', opened)
        },
      }
    },
    write: (text) => void call(bridge, 'console.write', { id, port, text }).catch(onError),
  }
}

function createParams(source: CreateSource, settings: MachineSettings): CallParams<'machine.create'> {
  if (source.kind === 'kernel') return { settings }
  if (source.kind === 'template') {
    const { name, group, tags, notes, memoryMiB, cpuProfile } = settings
    const { templateId, withState, linked, cloudInit } = source
    // A machine that goes on from a state has the hardware of that state.
    const hardware = withState ? {} : { memoryMiB, cpuProfile }
    return { settings: { name, group, tags, notes, ...hardware }, template: templateId, withState, linked, ...(cloudInit ? { cloudInit } : {}) }
  }
  // Kernel, initrd and command line come from the image.
  const { kernel: _kernel, initrd: _initrd, commandLine: _commandLine, ...rest } = settings
  return { settings: rest, image: source.kind === 'starter' ? 'starter' : source.imageId }
}

type Ask = <N extends CallName>(name: N, params: CallParams<N>) => Promise<CallResult<N>>

const hostCalls = (ask: Ask) => ({
  host: () => ask('host.info', {}),
  folder: (path) => ask('host.folder', path === undefined ? {} : { path }),
  pickFile: async (request) => {
    try {
      return (await ask('host.pickFile', request)).path
    } catch (error) {
      if (error instanceof ApiError && error.code === 'unsupported') return undefined
      throw error
    }
  },
  preferences: () => ask('preferences.get', {}),
  setPreferences: (changes) => ask('preferences.set', changes),
  tasks: () => ask('task.list', {}),
  cancelTask: (id) => ask('task.cancel', { id }),
  images: () => ask('image.list', {}),
} satisfies Partial<Api>)

const machineCalls = (ask: Ask) => ({
  machines: () => ask('machine.list', {}),
  claimedNames: () => ask('machine.claimedNames', {}),
  create: (source, settings) => ask('machine.create', createParams(source, settings)),
  clone: (id, name, options = {}) => ask('machine.clone', { id, name, ...options }),
  fork: (id, name) => ask('machine.fork', { id, name }),
  exportMachine: (id, options) => ask('machine.export', { id, ...options }),
  importMachine: (path, name) => ask('machine.import', { path, ...(name === '' ? {} : { name }) }),
  templates: () => ask('template.list', {}),
  makeTemplate: (id, name) => ask('template.create', { id, ...(name === undefined ? {} : { name }) }),
  releaseTemplate: (id) => ask('template.release', { id }),
  update: (id, settings) => ask('machine.update', { id, settings }),
  start: (id) => ask('machine.start', { id }),
  pause: (id) => ask('machine.pause', { id }),
  resume: (id) => ask('machine.resume', { id }),
  powerOff: (id) => ask('machine.powerOff', { id }),
  forceStop: (id) => ask('machine.forceStop', { id }),
  reset: (id) => ask('machine.reset', { id }),
  suspend: async (id) => void await ask('machine.suspend', { id }),
  startFresh: (id) => ask('machine.start', { id, fresh: true }),
  discardSaved: (id) => ask('machine.discardSaved', { id }),
  hotBlocks: (id) => ask('machine.hotBlocks', { id }),
  wasmOf: async (id, { address, modeKey }) => (await ask('machine.wasmOf', { id, address, modeKey })).text,
  log: (id) => ask('machine.log', { id, lines: 2_000 }),
} satisfies Partial<Api>)

const storageCalls = (ask: Ask) => ({
  snapshots: (id) => ask('snapshot.list', { id }),
  takeSnapshot: (id, text) => ask('snapshot.take', { id, ...text }),
  restoreSnapshot: async (id, snapshotId, options) => (await ask('snapshot.restore', { id, snapshotId, ...options })).undo,
  deleteSnapshot: (id, snapshotId) => ask('snapshot.delete', { id, snapshotId }),
  changeSnapshot: (id, snapshotId, text) => ask('snapshot.change', { id, snapshotId, ...text }),
  trash: () => ask('trash.list', {}),
  remove: async (id) => (await ask('machine.delete', { id })).id,
  restore: (id) => ask('trash.restore', { id }),
  purge: (id) => ask('trash.purge', { id }),
  disks: () => ask('disk.list', {}),
  createDisk: (path, format, sizeBytes) => ask('disk.create', { path, format, sizeBytes }),
  checkDisk: (path) => ask('disk.check', { path }),
  repairDisk: (path) => ask('disk.repair', { path }),
  compactDisk: (path) => ask('disk.compact', { path }),
  rebaseDisk: (path, options) => ask('disk.rebase', { path, ...options }),
  resizeDisk: (path, sizeBytes, shrink) => ask('disk.resize', { path, sizeBytes, shrink }),
  convertDisk: (path, target, format) => ask('disk.convert', { path, target, format }),
} satisfies Partial<Api>)

const events = (bridge: NestboxBridge) => ({
  onMachine: (handler) => bridge.subscribe('machine.changed', handler),
  onNamesClaimed: (handler) => bridge.subscribe('machine.namesClaimed', ({ names }) => handler(names)),
  onMachineGone: (handler) => bridge.subscribe('machine.removed', ({ id }) => handler(id)),
  onFigures: (handler) => bridge.subscribe('machine.figures', ({ id, figures }) => handler(id, figures)),
  onTask: (handler) => bridge.subscribe('task.changed', handler),
  onSnapshots: (handler) => bridge.subscribe('snapshot.changed', ({ id }) => handler(id)),
  onPreferences: (handler) => bridge.subscribe('preferences.changed', handler),
  onTrash: (handler) => bridge.subscribe('trash.changed', () => handler()),
  onCommand: (handler) => bridge.subscribe('app.command', ({ command }) => handler(command)),
  onConnection: (handler) => bridge.subscribe('connection.changed', ({ connected }) => handler(connected)),
} satisfies Partial<Api>)

/** @param onError told of errors no caller waits for, such as of a key typed into a stopped machine's console */
export function createClient(bridge: NestboxBridge, onError: (error: unknown) => void = () => undefined): Api {
  const ask: Ask = (name, params) => call(bridge, name, params)
  return {
    ...hostCalls(ask), ...machineCalls(ask), ...storageCalls(ask), ...events(bridge),
    console: (id, port) => consoleSource(bridge, id, port, onError),
  }
}
