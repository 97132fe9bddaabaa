/** The whole window over a fake manager, for tests of what a person sees and presses. Never part of the product's bundle. */
import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { createPinia, setActivePinia, type Pinia } from 'pinia'
import { afterEach, beforeEach, vi } from 'vitest'
import { setApi } from '../api/current'
import { FakeApi } from '../api/fake-api'
import { createMessages } from '../locales'
import { usePreferencesStore } from '../stores/preferences'

// The terminal draws on a real screen and is tested in one (tests/e2e).
vi.mock('../console/ConsoleView.vue', () => ({ default: { template: '<div class="console-stub"><slot /><slot name="tools" /></div>', methods: { focus: () => undefined } } }))
vi.mock('vue-chartjs', () => ({ Line: { template: '<i class="chart-stub" />' } }))
const { default: App } = await import('../App.vue')

/** Of the test that runs. */
export let api: FakeApi
let pinia: Pinia
let app: VueWrapper | undefined

/** A fresh manager and page for each test of the file. */
export function eachWithFreshApp(): void {
  beforeEach(() => {
    localStorage.clear()
    history.replaceState(null, '', '/')
    pinia = createPinia()
    setActivePinia(pinia)
    api = new FakeApi()
    setApi(api)
  })
  afterEach(() => {
    app?.unmount()
    document.body.innerHTML = ''
  })
}

export async function open(language: 'en' | 'fr' = 'en'): Promise<VueWrapper> {
  usePreferencesStore().language = language
  app = mount(App, { global: { plugins: [pinia, createMessages(language)] }, attachTo: document.body })
  await flushPromises()
  return app
}

export async function press(key: string, init: KeyboardEventInit = {}, target: EventTarget = document.body): Promise<void> {
  target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...init }))
  await flushPromises()
}

export const body = (): string => document.body.textContent ?? ''

/** @throws where nothing matches */
export function find<E extends HTMLElement = HTMLElement>(selector: string): E {
  const element = document.body.querySelector<E>(selector)
  if (!element) throw new Error(`nothing matches ${selector}`)
  return element
}

export async function click(selector: string): Promise<void> {
  find(selector).click()
  await flushPromises()
}

/** Types into a field. */
export async function fill(selector: string, text: string): Promise<void> {
  const field = find<HTMLInputElement>(selector)
  field.value = text
  field.dispatchEvent(new Event('input', { bubbles: true }))
  await flushPromises()
}

/** An action of the machine's menu. */
export async function choose(action: string): Promise<void> {
  await click('[data-action="more"]')
  await click(`[role="menuitem"][data-action="${action}"]`)
}
