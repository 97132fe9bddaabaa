import { describe, expect, it } from 'vitest'
import { api, body, click, eachWithFreshApp, find, open, press } from '../testing/mounted-app'

eachWithFreshApp()

const panes = (): string[] => [...document.querySelectorAll<HTMLElement>('[data-pane]')].map((pane) => pane.dataset.pane ?? '')

describe('consoles side by side', () => {
  it('show both ports of one machine', async () => {
    api.add('web', { state: 'running' })
    await open()
    await press('k', { ctrlKey: true, shiftKey: true })
    expect(panes()).toEqual(['web ttyS0', 'web hvc0'])
  })

  it('show the machines that run, close one by one, and go back with the last', async () => {
    for (const name of ['a', 'b', 'c']) api.add(name, { state: name === 'c' ? 'stopped' : 'running' })
    await open()
    await press('k', { ctrlKey: true, shiftKey: true })
    expect(panes()).toEqual(['a ttyS0', 'b ttyS0'])
    await click('[data-pane="a ttyS0"] [data-action="close-pane"]')
    expect(panes()).toEqual(['b ttyS0'])
    await click('[data-action="close-pane"]')
    expect(panes()).toEqual([])
    expect(body()).toContain('Overview')
  })

  it('change the port of a pane in its place', async () => {
    api.add('a', { state: 'running' })
    api.add('b', { state: 'running' })
    await open()
    await press('k', { ctrlKey: true, shiftKey: true })
    find<HTMLInputElement>('[data-pane="a ttyS0"] input[value="hvc0"]').click()
    await press('Unidentified')
    expect(panes()).toEqual(['a hvc0', 'b ttyS0'])
  })
})
