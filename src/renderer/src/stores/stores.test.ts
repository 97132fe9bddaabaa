import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it } from 'vitest'
import { setApi } from '../api/current'
import { FakeApi } from '../api/fake-api'
import type { FigureCounters } from './figure-series'
import { useFiguresStore } from './figures'
import { allTags, filterMachines, groupMachines } from './machine-groups'
import { useMachinesStore } from './machines'
import { useTasksStore } from './tasks'
import { useTrashStore } from './trash'

let api: FakeApi

beforeEach(() => {
  setActivePinia(createPinia())
  api = new FakeApi()
  setApi(api)
})

describe('machines', () => {
  it('loads and follows', async () => {
    const machines = useMachinesStore()
    const one = api.add('one', { group: 'Work' })
    await machines.load()
    const stop = machines.follow()
    expect(machines.names).toEqual(['one'])
    expect(machines.groups).toEqual(['Work'])
    await api.start(one.id)
    expect(machines.get(one.id)?.state).toBe('running')
    expect(machines.active).toHaveLength(1)
    await api.forceStop(one.id)
    await api.remove(one.id)
    expect(machines.all).toEqual([])
    stop()
    api.emitMachine(one)
    expect(machines.all).toEqual([])
  })
})

describe('the list', () => {
  it('searches without accents and case, in names, groups and tags', () => {
    const all = [api.add('Système 1'), api.add('web 10', { group: 'Prod', tags: ['http'] }), api.add('web 2', { group: 'Prod', state: 'running' })]
    const find = (text: string, tags: string[] = [], isActiveOnly = false): string[] =>
      filterMachines(all, { text, tags, isActiveOnly }).map((machine) => machine.name)
    expect(find('SYSTEME')).toEqual(['Système 1'])
    expect(find('prod web')).toEqual(['web 10', 'web 2'])
    expect(find('http')).toEqual(['web 10'])
    expect(find('', ['http'])).toEqual(['web 10'])
    expect(find('', [], true)).toEqual(['web 2'])
    expect(find('nothing')).toEqual([])
    expect(groupMachines(all, 'en').map((group) => [group.name, group.machines.map((machine) => machine.name)]))
      .toEqual([['Prod', ['web 2', 'web 10']], ['', ['Système 1']]])
    expect(allTags(all, 'en')).toEqual(['http'])
  })
})

describe('tasks', () => {
  it('puts new tasks first, updates known ones, keeps few finished ones', () => {
    const tasks = useTasksStore()
    tasks.follow()
    for (let i = 0; i < 40; i++) api.emitTask({ id: `${i}`, kind: 'image.download', subject: `t${i}`, state: 'done', cancellable: false })
    api.emitTask({ id: 'x', kind: 'image.download', subject: 'x', state: 'running', progress: 0.1, cancellable: true })
    expect(tasks.all).toHaveLength(31)
    expect(tasks.open.map((task) => task.id)).toEqual(['x'])
    api.emitTask({ id: 'x', kind: 'image.download', subject: 'x', state: 'running', progress: 0.5, cancellable: true })
    expect(tasks.open[0].progress).toBe(0.5)
    tasks.clearFinished()
    expect(tasks.all.map((task) => task.id)).toEqual(['x'])
  })

  it('cancels through the manager', async () => {
    const tasks = useTasksStore()
    tasks.follow()
    api.emitTask({ id: 'x', kind: 'image.download', subject: 'x', state: 'running', cancellable: true })
    await tasks.cancel('x')
    expect(tasks.all[0].state).toBe('cancelled')
  })
})

describe('trash', () => {
  it('follows deletes and restores', async () => {
    const trash = useTrashStore()
    trash.follow()
    const machine = api.add('gone')
    const id = await api.remove(machine.id)
    await Promise.resolve()
    await trash.load()
    expect(trash.items.map((item) => item.name)).toEqual(['gone'])
    expect((await trash.restore(id)).name).toBe('gone')
    expect(trash.items).toEqual([])
  })
})

describe('figures', () => {
  const counters = (timeMs: number, instructions: number): FigureCounters => ({
    timeMs, instructions, guestRunNs: timeMs * 1e6, interrupts: 0, readBytes: 0, writtenBytes: 0, exits: {}, residentGuestBytes: 1, processBytes: 0, processCpuSeconds: 0, unimplemented: {},
  })

  it('makes a series of what arrives and forgets it', () => {
    const figures = useFiguresStore()
    figures.follow()
    api.emitFigures('a', counters(1_000, 0))
    expect(figures.of('a')).toEqual([])
    api.emitFigures('a', counters(2_000, 5e6))
    api.emitFigures('a', counters(2_010, 5e6))
    expect(figures.of('a')).toHaveLength(1)
    expect(figures.latest('a')?.mips).toBeCloseTo(5)
    expect(figures.of('b')).toEqual([])
    figures.forget('a')
    expect(figures.latest('a')).toBeUndefined()
  })
})
