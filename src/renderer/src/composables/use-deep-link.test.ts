import { mount } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { defineComponent, nextTick, ref } from 'vue'
import { formatPlace, parsePlace, useDeepLink, type Place } from './use-deep-link'

beforeEach(() => history.replaceState(null, '', '/'))
afterEach(() => history.replaceState(null, '', '/'))

function run(start: Place | undefined) {
  const place = ref(start)
  const isReady = ref(false)
  const wrapper = mount(defineComponent({
    setup() {
      useDeepLink(place, isReady, (next) => {
        place.value = next
      })
      return () => null
    },
  }))
  return { place, isReady, wrapper }
}

const web: Place = { kind: 'machine', id: 'web-1', tab: 'overview' }

describe('deep links', () => {
  it('are read and written alike, and nonsense is none', () => {
    for (const hash of ['#/trash', '#/machines/web-1/console']) expect(formatPlace(parsePlace(hash))).toBe(hash)
    expect(parsePlace('#/machines/web-1/nonsense')).toEqual(web)
    for (const hash of ['', '#token=x', '#/machines', '#/machines/../x', '#/other']) expect(parsePlace(hash)).toBeUndefined()
  })

  it('are followed once the machines are known', async () => {
    history.replaceState(null, '', '#/machines/db-2/log')
    const { place, isReady, wrapper } = run(undefined)
    await nextTick()
    place.value = web
    isReady.value = true
    await nextTick()
    await nextTick()
    expect(place.value).toEqual({ kind: 'machine', id: 'db-2', tab: 'log' })
    expect(location.hash).toBe('#/machines/db-2/log')
    wrapper.unmount()
  })

  it('follow what is shown, and what is asked for with back and forward', async () => {
    const { place, isReady, wrapper } = run(web)
    isReady.value = true
    await nextTick()
    expect(location.hash).toBe('#/machines/web-1/overview')
    place.value = { ...web, tab: 'snapshots' }
    await nextTick()
    expect(location.hash).toBe('#/machines/web-1/snapshots')
    history.replaceState(null, '', '#/trash')
    window.dispatchEvent(new PopStateEvent('popstate'))
    expect(place.value).toEqual({ kind: 'trash' })
    wrapper.unmount()
    window.dispatchEvent(new PopStateEvent('popstate'))
  })
})
