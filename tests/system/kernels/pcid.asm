; PCID and INVPCID, by the manual alone: QEMU does not know bit 63 of CR3, nor the conditions of CR4.PCIDE. SDM vol. 3, 4.10.1, 4.10.4.
%include "long.inc"
START
main:
  ENTER64
  mov rax, 0x1111
  mov [FRAME], rax
  mov rax, 0x2222
  mov [FRAME + 0x1000], rax
  call spaces
  call invpcids
  call codes
  jmp exit64

bits 64
; The victim's entries as they would be fresh: [upper] flags above, [flags] and [high] below.
set_victim:
  push rax
  mov rax, [upper]
  lea rax, [rax + PDPTV]
  mov [PML4 + 8], rax
  mov rax, [upper]
  lea rax, [rax + PDV]
  mov [PDPTV], rax
  mov rax, [upper]
  lea rax, [rax + PTV]
  mov [PDV], rax
  mov rax, [flags]
  or rax, FRAME
  mov [PTV], rax
  add rax, 0x1000
  mov [PTV + 8], rax
  mov rax, cr3
  mov cr3, rax
  pop rax
  ret

victim_rw:
  mov qword [upper], 7
  mov qword [flags], 7
  jmp set_victim

%macro SWITCH 1 ; CR3
  mov rax, %1
  mov cr3, rax
%endmacro
%macro EXCHANGE 1 ; the victim is the second or the first frame
  mov qword [PTV], (FRAME + %1) | 7
%endmacro

spaces:
  call victim_rw
  SDM "on, with low bits in CR3", "v=0d e=00000000", "2.5, 4.10.1"
  mov rax, PML4 | 8
  mov cr3, rax
  mov rax, cr4
  bts rax, 17
  mov cr4, rax
  DONE
  SWITCH PML4
  SDM "on", "v=80", "4.10.1"
  mov rax, cr4
  bts rax, 17
  mov cr4, rax
  DONE
  SDM "another space translates anew", "v=80 r=0000000000040000,0000008000000000,0000000000001111,0000000000002222,0000000000002222,0000000000040006,", "4.10.1"
  mov rbx, VICTIM
  mov rcx, [rbx]
  SWITCH PML4 | 5
  EXCHANGE 0x1000
  mov rdx, [rbx]
  SWITCH PML4 | 6
  mov rsi, [rbx]
  mov rdi, cr3
  SWITCH PML4
  DONE
  call victim_rw
  SDM "bit 63 is not kept", "v=80 r=8000000000040000,0000000000040000,", "4.10.4.1"
  mov rax, PML4
  bts rax, 63
  mov cr3, rax
  mov rbx, cr3
  DONE
  SDM "other high bits are refused", "v=0d e=00000000", "2.5"
  mov rax, PML4
  bts rax, 62
  mov cr3, rax
  DONE
  SDM "global page in every space", "v=80 r=0000000000040000,0000008000000000,0000000000001111,0000000000001111,", "4.10.2.4"
  mov qword [flags], 0x107
  call set_victim
  mov rbx, VICTIM
  mov rcx, [rbx]
  SWITCH PML4 | 7
  mov rdx, [rbx]
  SWITCH PML4
  DONE
  SDM "off again", "v=80 r=0000000000040000,0000000000040123,", "4.10.1"
  mov rax, PML4 | 0x123
  mov cr3, rax
  mov rax, cr4
  btr rax, 17
  mov cr4, rax
  mov rbx, cr3
  SWITCH PML4
  DONE
  SDM "bit 63 without PCID", "v=0d e=00000000", "2.5"
  mov rax, PML4
  bts rax, 63
  mov cr3, rax
  DONE
  ret

%macro INVALIDATE 3 ; kind, PCID, address
  mov qword [descriptor], %2
  mov rax, %3
  mov [descriptor + 8], rax
  mov eax, %1
  invpcid rax, [descriptor]
%endmacro

%macro REFUSED 4
  SDM %1, "v=0d e=00000000", "vol. 2 INVPCID"
  INVALIDATE %2, %3, %4
  DONE
%endmacro

invpcids:
  REFUSED "kind 4", 4, 0, 0
  REFUSED "PCID of 13 bits", 1, 0x1000, 0
  REFUSED "PCID 1 while off, one address", 0, 1, 0
  REFUSED "PCID 1 while off, one space", 1, 1, 0
  REFUSED "address that is not canonical", 0, 0, 0x800000000000
  SDM "ring 3", "v=0d e=00000000", "vol. 2 INVPCID"
  USER
  invpcid rax, [descriptor + ALIAS]
  DONE
  call victim_rw
  SDM "one address", "v=80 r=0000000000000000,0000008000000000,0000000000001111,0000000000002222,", "4.10.4.1"
  mov rbx, VICTIM
  mov rcx, [rbx]
  EXCHANGE 0x1000
  INVALIDATE 0, 0, VICTIM
  mov rdx, [rbx]
  DONE
  call victim_rw
  SDM "all but global", "v=80 r=0000000000000003,0000008000000000,0000000000001111,0000000000002222,", "4.10.4.1"
  mov rbx, VICTIM
  mov rcx, [rbx]
  EXCHANGE 0x1000
  INVALIDATE 3, 0, 0
  mov rdx, [rbx]
  DONE
  mov qword [flags], 0x107
  call set_victim
  SDM "all with global", "v=80 r=0000000000000002,0000008000000000,0000000000001111,0000000000002222,", "4.10.4.1"
  mov rbx, VICTIM
  mov rcx, [rbx]
  EXCHANGE 0x1000
  INVALIDATE 2, 0, 0
  mov rdx, [rbx]
  DONE
  ret

%macro KEEPING 1 ; CR3, nothing dropped
  mov rax, %1
  bts rax, 63
  mov cr3, rax
%endmacro

; CALLED text, ring: what the code at VICTIM answers, called twice
%macro CALLED 2
  mov dword [answer], 0
  CASE
  mov rbx, VICTIM
%if %2 == 3
  USER
  call rbx
  call rbx
  mov [answer + ALIAS], eax
%else
  call rbx
  call rbx
  mov [answer], eax
%endif
  RESULT
  FIELD %1, [answer], 1
%endmacro

; One address holds the one code or the other, by space: what runs is what is mapped now, wherever a translation had to go.
%macro CODES 1
  SWITCH PML4 | 5
  EXCHANGE 0x2000
  SWITCH PML4 | 5
  CALLED "a=", %1
  SWITCH PML4 | 6
  EXCHANGE 0x3000
  SWITCH PML4 | 6
  CALLED " b=", %1
  SWITCH PML4 | 5
  CALLED " c=", %1
  EXCHANGE 0x2000
  mov rbx, VICTIM
  invlpg [rbx]
  CALLED " d=", %1
  INVALIDATE 0, 6, VICTIM
  KEEPING PML4 | 6
  CALLED " e=", %1
  EXCHANGE 0x3000
  INVALIDATE 1, 5, 0
  KEEPING PML4 | 5
  CALLED " f=", %1
  EXCHANGE 0x2000
  INVALIDATE 3, 0, 0
  CALLED " g=", %1
  KEEPING PML4 | 6
  CALLED " h=", %1
  SWITCH PML4
%endmacro

codes:
  call victim_rw
  mov dword [FRAME + 0x2000], 0x000001b8 ; mov eax, 1
  mov word [FRAME + 0x2004], 0xc300 ; ret
  mov dword [FRAME + 0x3000], 0x000002b8
  mov word [FRAME + 0x3004], 0xc300
  mov rax, cr4
  bts rax, 17
  mov cr4, rax
  mov dword [round], 0
.again:
  PS "user code |a=1 b=2 c=2 d=1 e=1 f=2 g=1 h=1|4.10.4: "
  CODES 3
  ENDROW
  PS "supervisor code |a=1 b=2 c=2 d=1 e=1 f=2 g=1 h=1|4.10.4: "
  CODES 0
  ENDROW
  inc dword [round]
  cmp dword [round], 3
  jb .again
  mov rax, cr4
  btr rax, 17
  mov cr4, rax
  ret

section .data
align 8
answer: dd 0
round: dd 0
upper: dq 7
flags: dq 7
descriptor: dq 0, 0
section .text
LONG_CODE
