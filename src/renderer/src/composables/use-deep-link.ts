/**
 * What is shown as the page's address, `#/machines/<id>/<tab>`, `#/disks` or `#/trash`: it survives a reload, can be kept as a bookmark, and
 * the browser's back and forward buttons walk through it. In the fragment, so that no server and no log sees it.
 */
import { onBeforeUnmount, onMounted, watch, type Ref } from 'vue'
import type { DetailsTab } from '../components/MachineDetails.vue'

export type Place = { readonly kind: 'machine'; readonly id: string; readonly tab: DetailsTab } | { readonly kind: 'trash' | 'disks' }

const TABS: ReadonlySet<string> = new Set<DetailsTab>(['overview', 'console', 'snapshots', 'settings', 'inspector', 'log'])
const isTab = (text: string | undefined): text is DetailsTab => text !== undefined && TABS.has(text)

/** @param hash of the address, with its `#` @returns undefined for anything else */
export function parsePlace(hash: string): Place | undefined {
  const [first, id, tab] = hash.replace(/^#\/?/, '').split('/')
  if (first === 'trash' || first === 'disks') return { kind: first }
  if (first !== 'machines' || !id || !/^[\w-]+$/.test(id)) return undefined
  return { kind: 'machine', id, tab: isTab(tab) ? tab : 'overview' }
}

export function formatPlace(place: Place | undefined): string {
  if (!place) return ''
  return place.kind === 'machine' ? `#/machines/${place.id}/${place.tab}` : `#/${place.kind}`
}

/**
 * @param place what is shown now
 * @param isReady whether the machines are known: before, an address cannot be followed and must not be overwritten
 * @param go shows a place; may find that it is gone
 */
export function useDeepLink(place: Readonly<Ref<Place | undefined>>, isReady: Readonly<Ref<boolean>>, go: (place: Place) => void): void {
  // Kept before anything else chooses what to show.
  let wanted = parsePlace(location.hash)

  function follow(): void {
    const asked = parsePlace(location.hash)
    if (asked && isReady.value && formatPlace(asked) !== formatPlace(place.value)) go(asked)
  }

  watch([place, isReady], ([now, ready], [before]) => {
    if (!ready) return
    if (wanted) {
      const asked = wanted
      wanted = undefined
      go(asked)
      return
    }
    const address = formatPlace(now)
    if (address === '' || address === location.hash) return
    // The first place replaces the bare address: back must not lead to it.
    if (before && location.hash !== '') history.pushState(null, '', address)
    else history.replaceState(null, '', address)
  }, { flush: 'post', immediate: true })

  onMounted(() => window.addEventListener('popstate', follow))
  onBeforeUnmount(() => window.removeEventListener('popstate', follow))
}
