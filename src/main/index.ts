/** Electron entry: opens the manager, lets the window talk to it, opens the window. No logic of its own. */
import { join } from 'node:path'
import { app, BrowserWindow, dialog } from 'electron'
import { preferences, type Preferences } from '../preload/contract'
import { connectElectron } from './ipc/electron'
import { openManager } from './ipc/open-manager'
import { defaultHome } from './services/home'
import { Desktop } from './windows/desktop'
import { APP_ORIGIN, registerAppScheme } from './windows/protocol'
import { wordsFor, wordsOf, type Words } from './windows/words'

const wordsIn = (chosen: Preferences | undefined): Words => wordsOf(chosen?.language ?? 'system', app.getLocale())

async function start(): Promise<void> {
  let words = wordsFor(app.getLocale())
  try {
    const manager = await openManager({ home: defaultHome(), vmHostEntry: join(__dirname, 'vm-host.cjs'), spareProcesses: 1 })
    manager.onLost((reason) => {
      if (manager.isLocal) dialog.showErrorBox(words.libraryBusyTitle, reason)
      else app.relaunch() // the manager this app had joined is gone: the next start opens its own
      app.exit(manager.isLocal ? 1 : 0)
    })
    const own = manager.connect((name, payload) => {
      if (name === 'preferences.changed') desktop.speak(wordsIn(preferences.parse(payload)))
    })
    const known = async (): Promise<Preferences | undefined> => {
      const outcome = await own.call('preferences.get', {})
      return outcome.ok ? preferences.parse(outcome.result) : undefined
    }
    words = wordsIn(await known())
    const desktop = new Desktop({
      words,
      background: {
        running: () => manager.runningCount(),
        onQuit: async () => (await known())?.onQuit ?? 'ask',
        shutdown: (how) => manager.shutdown(how),
      },
      preload: join(__dirname, '../preload/index.cjs'),
      rendererRoot: join(__dirname, '../renderer'),
      resources: join(app.getAppPath(), 'resources'),
      onWindow: (window) => transport.add(window.webContents),
    })
    const transport = connectElectron(manager, {
      isAllowedUrl: (address) => address.startsWith(`${APP_ORIGIN}/`),
      pickFile: (contents, request) => desktop.pickFile(BrowserWindow.fromWebContents(contents), request),
    })
    desktop.open()
    void manager.resumeSuspended()
  } catch (error) {
    dialog.showErrorBox(words.startFailedTitle, error instanceof Error ? error.message : String(error))
    app.exit(1)
  }
}

registerAppScheme()
// The first instance shows its window instead (windows/desktop).
if (app.requestSingleInstanceLock()) void app.whenReady().then(start)
else app.quit()
