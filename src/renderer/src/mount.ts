/** Puts the interface on the page. */
import '@fontsource-variable/inter/index.css'
import '@fontsource-variable/jetbrains-mono/index.css'
import '@xterm/xterm/css/xterm.css'
import 'element-plus/dist/index.css'
import 'element-plus/theme-chalk/dark/css-vars.css'
import './styles/tokens.css'
import './styles/base.css'
import './styles/element.css'
import { createPinia } from 'pinia'
import { createApp } from 'vue'
import type { Api } from './api/api'
import { setApi } from './api/current'
import App from './App.vue'
import { createMessages, pickLanguage } from './locales'
import { usePreferencesStore } from './stores/preferences'
import MissingToken from './views/MissingTokenView.vue'

export function mountApp(api: Api, element: string | HTMLElement): void {
  setApi(api)
  const app = createApp(App)
  app.use(createPinia())
  app.use(createMessages(usePreferencesStore().locale))
  app.config.errorHandler = (error) => console.error(error)
  app.mount(element)
}

/** A page that was opened without its token: says how to get in. */
export function showMissingToken(element: string): void {
  const app = createApp(MissingToken)
  app.use(createMessages(pickLanguage(navigator.languages)))
  app.mount(element)
}
