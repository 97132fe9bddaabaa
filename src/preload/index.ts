/** The bridge: exactly the contract, under `window.nestbox`. Sandboxed; knows no payloads, the main process checks them. */
import { contextBridge, ipcRenderer, type IpcRendererEvent } from 'electron'
import { CALL_CHANNEL, EVENT_CHANNEL } from './contract/channels'
import type { NestboxBridge } from './contract/wire'

const bridge: NestboxBridge = {
  call: (name, params) => ipcRenderer.invoke(CALL_CHANNEL, name, params),
  subscribe(name, handler) {
    const listener = (_event: IpcRendererEvent, eventName: string, payload: Parameters<typeof handler>[0]): void => {
      if (eventName === name) handler(payload)
    }
    ipcRenderer.on(EVENT_CHANNEL, listener)
    return () => {
      ipcRenderer.off(EVENT_CHANNEL, listener)
    }
  },
}

contextBridge.exposeInMainWorld('nestbox', bridge)
