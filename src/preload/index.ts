/** The bridge: exactly the contract, under `window.nestbox`. Sandboxed; knows no payloads, the main process checks them. */
import { contextBridge, ipcRenderer, type IpcRendererEvent } from 'electron'
import { CALL_CHANNEL, EVENT_CHANNEL } from './contract/channels'
import type { NestboxBridge } from './contract/wire'

/** Of some event: only the contract knows what each carries. */
type Handler = (payload: never) => void

const handlers = new Map<string, Set<Handler>>()

// One listener for all: each console that is open subscribes too, and Electron warns of many.
ipcRenderer.on(EVENT_CHANNEL, (_event: IpcRendererEvent, name: string, payload: unknown) => {
  for (const handler of handlers.get(name) ?? []) handler(payload as never)
})

const bridge: NestboxBridge = {
  call: (name, params) => ipcRenderer.invoke(CALL_CHANNEL, name, params),
  subscribe(name, handler) {
    // Who subscribes twice hears twice.
    const own: Handler = (payload) => handler(payload)
    const listening = handlers.get(name) ?? new Set<Handler>()
    handlers.set(name, listening.add(own))
    return () => {
      listening.delete(own)
    }
  },
}

contextBridge.exposeInMainWorld('nestbox', bridge)
