import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { createPinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { phrase } from '@contract/index'
import { setApi } from '../api/current'
import { FakeApi } from '../api/fake-api'
import { createMessages } from '../locales'
import LogTab from './LogTab.vue'

let api: FakeApi
let tab: VueWrapper | undefined

async function open(language: 'en' | 'fr'): Promise<VueWrapper> {
  tab = mount(LogTab, { props: { machine: api.add('web') }, global: { plugins: [createPinia(), createMessages(language)] }, attachTo: document.body })
  await flushPromises()
  return tab
}

const texts = (of: VueWrapper): string[] => of.findAll('.text').map((line) => line.text())

beforeEach(() => {
  api = new FakeApi()
  setApi(api)
  const time = '2026-11-23T07:00:00Z'
  api.logLines = [
    { time, level: 'info', text: 'started, process 7', phrase: phrase('log.started', { pid: 7 }) },
    { time, level: 'warn', text: 'disk0: request failed: x', phrase: phrase('log.ofPart', { part: 'disk0', what: phrase('log.requestFailed', { detail: phrase('system.EIO') }) }) },
    { time, level: 'error', text: 'a line of another version' },
  ]
})

afterEach(() => tab?.unmount())

describe('a machine’s log', () => {
  it('is said in the language of the window', async () => {
    expect(texts(await open('fr'))).toEqual(['démarrée, processus 7', 'disk0\u00a0: une requête a échoué\u00a0: erreur d’entrée-sortie', 'a line of another version'])
  })

  it('is searched as it is said', async () => {
    const log = await open('fr')
    await log.find('input').setValue('DEMARREE')
    expect(texts(log)).toEqual(['démarrée, processus 7'])
    await log.find('input').setValue('started')
    expect(texts(log)).toEqual([])
  })

  it('is in English for those who read English', async () => {
    expect(texts(await open('en'))[1]).toBe('disk0: request failed: input/output error')
  })
})
