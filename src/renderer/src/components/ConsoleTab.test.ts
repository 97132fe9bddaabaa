import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { createPinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { setApi } from '../api/current'
import { FakeApi } from '../api/fake-api'
import { createMessages } from '../locales'
import ConsoleTab from './ConsoleTab.vue'

const made = vi.hoisted(() => ({ terminals: [] as { isDisposed: boolean; focuses: number }[] }))
vi.mock('@xterm/xterm', () => ({
  Terminal: class {
    element: HTMLElement | undefined
    isDisposed = false
    focuses = 0
    private readonly keys = document.createElement('textarea')
    constructor() { made.terminals.push(this) }
    loadAddon(): void { /* tested in a real browser */ }
    attachCustomKeyEventHandler(): void { /* no keys here */ }
    onData(): void { /* no keys here */ }
    open(element: HTMLElement): void {
      this.element = element
      element.append(this.keys)
    }
    write(_chunk: string, done: () => void): void { done() }
    focus(): void {
      this.focuses++
      this.keys.focus()
    }
    dispose(): void {
      this.isDisposed = true
      this.keys.remove()
    }
  },
}))

let api: FakeApi
let tab: VueWrapper

beforeEach(async () => {
  vi.stubGlobal('ResizeObserver', class { observe(): void { /* size never changes here */ } disconnect(): void { /* same */ } })
  made.terminals.length = 0
  api = new FakeApi()
  setApi(api)
  tab = mount(ConsoleTab, { props: { machine: api.add('web', { state: 'running' }) }, global: { plugins: [createPinia(), createMessages('en')] }, attachTo: document.body })
  await flushPromises()
  ;(tab.vm as unknown as { focus: () => void }).focus()
})

afterEach(() => {
  tab.unmount()
  vi.unstubAllGlobals()
})

describe('console tab', () => {
  it('keeps its terminal, with focus and selection, while the machine changes its state', async () => {
    for (const state of ['paused', 'saving', 'running', 'stopped'] as const) await tab.setProps({ machine: { ...api.add('web'), id: 'm1', state } })
    await flushPromises()
    expect(made.terminals).toHaveLength(1)
    expect(made.terminals[0]).toMatchObject({ isDisposed: false, focuses: 1 })
  })

  it('opens its console anew when the connection is back, and keeps the focus', async () => {
    api.connection.emit(true)
    await flushPromises()
    expect(made.terminals).toHaveLength(1)
    api.connection.emit(false)
    api.connection.emit(true)
    await flushPromises()
    expect(made.terminals).toMatchObject([{ isDisposed: true }, { isDisposed: false, focuses: 1 }])
  })

  it('opens the console of another machine', async () => {
    await tab.setProps({ machine: api.add('db', { state: 'running' }) })
    await flushPromises()
    expect(made.terminals).toMatchObject([{ isDisposed: true }, { isDisposed: false }])
  })
})
