/* floor - a broadcast server of WebSockets and event streams that does nothing else: what its system calls cost.
 * usage: floor PORT loop|coalesce|uring|uloop     (127.0.0.1, one thread)
 *  paths: /ws subscriber, /sse SSE subscriber, /pub WS publisher (every message -> all subscribers), /echo
 *  loop:     one send() per message per subscriber
 *  coalesce: all messages parsed in one epoll round -> one send() per subscriber
 *  uring:    like coalesce, the sends of one round go in as one io_uring batch
 *  uloop:    like loop, but every message's sends go as one io_uring batch */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { K_NEW, K_SUB, K_SSE, K_PUB, K_ECHO };
typedef struct { int fd, kind, sub_ix; uint8_t *in; uint32_t in_len, in_cap; uint8_t *out; uint32_t out_len, out_cap; } conn;
static conn *by_fd[20100];
static conn **subs;
static int nsubs, ep, mode;
static uint8_t *batch[2], rb[1 << 18]; /* 0 = ws frames, 1 = sse events */
static size_t bl[2], bcap = 8 << 20;

/* sha1 + base64 for Sec-WebSocket-Accept */
static void sha1(const uint8_t *d, size_t n, uint8_t o[20]) {
  uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  uint8_t m[128] = {0};
  memcpy(m, d, n);
  m[n] = 0x80;
  size_t t = n + 9 <= 64 ? 64 : 128;
  for (int i = 0; i < 8; i++) m[t - 1 - i] = (uint8_t)((uint64_t)n * 8 >> (8 * i));
  for (size_t b = 0; b < t; b += 64) {
    uint32_t w[80];
    for (int i = 0; i < 16; i++) w[i] = m[b + 4 * i] << 24 | m[b + 4 * i + 1] << 16 | m[b + 4 * i + 2] << 8 | m[b + 4 * i + 3];
#define RL(x, k) ((x) << (k) | (x) >> (32 - (k)))
    for (int i = 16; i < 80; i++) w[i] = RL(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], bb = h[1], c = h[2], dd = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
      uint32_t f = i < 20 ? (bb & c) | (~bb & dd) : i < 40 ? bb ^ c ^ dd : i < 60 ? (bb & c) | (bb & dd) | (c & dd) : bb ^ c ^ dd;
      uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
      uint32_t x = RL(a, 5) + f + e + k + w[i];
      e = dd; dd = c; c = RL(bb, 30); bb = a; a = x;
    }
    h[0] += a; h[1] += bb; h[2] += c; h[3] += dd; h[4] += e;
  }
  for (int i = 0; i < 5; i++) for (int j = 0; j < 4; j++) o[4 * i + j] = h[i] >> (24 - 8 * j);
}
static void b64(const uint8_t *d, char *o) {
  static const char T[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0; i < 20; i += 3) {
    uint32_t v = d[i] << 16 | d[i + 1] << 8 | (i + 2 < 20 ? d[i + 2] : 0);
    *o++ = T[v >> 18]; *o++ = T[v >> 12 & 63]; *o++ = T[v >> 6 & 63]; *o++ = i + 2 < 20 ? T[v & 63] : '=';
  }
  *o = 0;
}
static void drop(conn *c) {
  if (c->kind == K_SUB || c->kind == K_SSE) { subs[c->sub_ix] = subs[--nsubs]; subs[c->sub_ix]->sub_ix = c->sub_ix; }
  by_fd[c->fd] = NULL;
  close(c->fd);
  free(c->in); free(c->out); free(c);
}
static int queue(conn *c, const uint8_t *p, size_t n) {
  if (c->out_len + n > c->out_cap) { c->out_cap = (c->out_len + n) * 2; c->out = realloc(c->out, c->out_cap); }
  memcpy(c->out + c->out_len, p, n);
  if (!c->out_len) { struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); }
  c->out_len += n;
  return 0;
}
static int put(conn *c, const uint8_t *p, size_t n) {
  if (c->out_len) return queue(c, p, n);
  ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (w == (ssize_t)n) return 0;
  if (w < 0) { if (errno != EAGAIN) return -1; w = 0; }
  return queue(c, p + w, n - w);
}
static void flushq(conn *c) {
  ssize_t w = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (w > 0) { memmove(c->out, c->out + w, c->out_len - w); c->out_len -= w; }
  if (!c->out_len) { struct epoll_event e = {.events = EPOLLIN, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); }
}
/* io_uring, raw */
static int ur;
static uint32_t *sq_tail, *sq_mask, *sq_arr, *cq_head, *cq_tail, *cq_mask;
static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;
static void uring_init(void) {
  struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
  ur = syscall(__NR_io_uring_setup, 4096, &p);
  if (ur < 0) { perror("io_uring_setup"); exit(1); }
  char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ur, IORING_OFF_SQ_RING);
  char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof *cqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ur, IORING_OFF_CQ_RING);
  sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ur, IORING_OFF_SQES);
  sq_tail = (void *)(sq + p.sq_off.tail); sq_mask = (void *)(sq + p.sq_off.ring_mask); sq_arr = (void *)(sq + p.sq_off.array);
  cq_head = (void *)(cq + p.cq_off.head); cq_tail = (void *)(cq + p.cq_off.tail); cq_mask = (void *)(cq + p.cq_off.ring_mask);
  cqes = (void *)(cq + p.cq_off.cqes);
}
static void uring_all(void) {
  for (int i = 0; i < nsubs;) {
    uint32_t t = *sq_tail, k = 0;
    for (; i < nsubs && k < 4096; i++) {
      conn *c = subs[i];
      int s = c->kind == K_SSE;
      if (c->out_len) { queue(c, batch[s], bl[s]); continue; }
      struct io_uring_sqe *q = &sqes[t & *sq_mask];
      memset(q, 0, sizeof *q);
      q->opcode = IORING_OP_SEND; q->fd = c->fd; q->addr = (uintptr_t)batch[s]; q->len = bl[s];
      q->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT; q->user_data = (uintptr_t)c;
      sq_arr[t & *sq_mask] = t & *sq_mask;
      t++; k++;
    }
    __atomic_store_n(sq_tail, t, __ATOMIC_RELEASE);
    for (uint32_t sub = k, donec = 0; donec < k;) {
      int r = syscall(__NR_io_uring_enter, ur, sub, k - donec, IORING_ENTER_GETEVENTS, NULL, 0);
      if (r < 0) { perror("enter"); exit(1); }
      sub -= r;
      uint32_t h = *cq_head;
      while (h != __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE)) {
        struct io_uring_cqe *e = &cqes[h++ & *cq_mask];
        conn *c = (void *)(uintptr_t)e->user_data;
        int s = c->kind == K_SSE;
        if (e->res < (int)bl[s]) { size_t w = e->res > 0 ? e->res : 0; queue(c, batch[s] + w, bl[s] - w); }
        donec++;
      }
      __atomic_store_n(cq_head, h, __ATOMIC_RELEASE);
    }
  }
}
static void flush_batch(void) {
  if (!bl[0]) return;
  if (mode >= 2) uring_all();
  else
    for (int i = nsubs; i-- > 0;) { conn *c = subs[i]; int s = c->kind == K_SSE; if (put(c, batch[s], bl[s])) drop(c); }
  bl[0] = bl[1] = 0;
}
static size_t hdr(uint8_t *f, size_t n) {
  f[0] = 0x81;
  if (n < 126) { f[1] = n; return 2; }
  f[1] = 126; f[2] = n >> 8; f[3] = n;
  return 4;
}
static void publish(const uint8_t *p, size_t n) {
  if (bl[0] + n + 64 > bcap) flush_batch();
  bl[0] += hdr(batch[0] + bl[0], n);
  memcpy(batch[0] + bl[0], p, n); bl[0] += n;
  memcpy(batch[1] + bl[1], "data: ", 6); memcpy(batch[1] + bl[1] + 6, p, n); memcpy(batch[1] + bl[1] + 6 + n, "\n\n", 2); bl[1] += n + 8;
  if (mode == 0 || mode == 3) flush_batch();
}
static size_t on_data(conn *c, uint8_t *b, size_t n) {
  if (c->kind == K_NEW) {
    uint8_t *e = memmem(b, n, "\r\n\r\n", 4);
    if (!e) return 0;
    *e = 0;
    char *k = strcasestr((char *)b, "sec-websocket-key: "), r[256], acc[32];
    int kind = !strncmp((char *)b, "GET /pub", 8) ? K_PUB : !strncmp((char *)b, "GET /echo", 9) ? K_ECHO : !strncmp((char *)b, "GET /sse", 8) ? K_SSE : K_SUB;
    if (kind != K_SSE) {
      if (!k) return (size_t)-1;
      uint8_t t[64], h[20];
      memcpy(t, k + 19, 24);
      memcpy(t + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
      sha1(t, 60, h);
      b64(h, acc);
      snprintf(r, sizeof r, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acc);
    } else snprintf(r, sizeof r, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n");
    if (put(c, (uint8_t *)r, strlen(r))) return (size_t)-1;
    c->kind = kind;
    if (kind <= K_SSE) { c->sub_ix = nsubs; subs[nsubs++] = c; }
    return e + 4 - b;
  }
  size_t o = 0;
  while (n - o >= 6) {
    uint8_t *f = b + o;
    size_t L = f[1] & 127, h = 2;
    if (L == 126) { L = f[2] << 8 | f[3]; h = 4; } else if (L == 127) return (size_t)-1;
    if (n - o < h + 4 + L) break;
    uint8_t *m = f + h, *p = m + 4;
    for (size_t i = 0; i < L; i++) p[i] ^= m[i & 3];
    o += h + 4 + L;
    if ((f[0] & 15) == 8) return (size_t)-1;
    if ((f[0] & 15) > 2) continue;
    if (c->kind == K_PUB) publish(p, L);
    else if (c->kind == K_ECHO) { uint8_t *s = p - hdr(rb, L); size_t k = hdr(rb + sizeof rb - 8, L); memcpy(s, rb + sizeof rb - 8, k); if (put(c, s, k + L)) return (size_t)-1; }
  }
  return o;
}
int main(int ac, char **av) {
  int port = ac > 1 ? atoi(av[1]) : 9000, one = 1;
  mode = ac > 2 ? !strcmp(av[2], "coalesce") ? 1 : !strcmp(av[2], "uring") ? 2 : !strcmp(av[2], "uloop") ? 3 : 0 : 0;
  if (mode >= 2) uring_init();
  subs = calloc(20100, sizeof *subs);
  batch[0] = malloc(bcap); batch[1] = malloc(bcap * 2);
  int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001)};
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
  ep = epoll_create1(0);
  struct epoll_event ev[1024], e = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
  for (;;) {
    int n = epoll_wait(ep, ev, 1024, -1);
    for (int i = 0; i < n; i++) {
      conn *c = ev[i].data.ptr;
      if (!c) {
        int fd;
        while ((fd = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) {
          if (fd >= 20000) { close(fd); continue; }
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          c = calloc(1, sizeof *c);
          c->fd = fd;
          by_fd[fd] = c;
          e.data.ptr = c;
          epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
        }
        continue;
      }
      if (ev[i].events & EPOLLOUT && c->out_len) flushq(c);
      if (!(ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
      size_t have = c->in_len;
      if (have) memcpy(rb, c->in, have);
      ssize_t r = recv(c->fd, rb + have, sizeof rb - 16 - have, 0);
      if (r <= 0) { if (r < 0 && errno == EAGAIN) continue; drop(c); continue; }
      size_t t = have + r, o = on_data(c, rb, t);
      if (o == (size_t)-1) { drop(c); continue; }
      size_t left = t - o;
      if (left > c->in_cap) { c->in_cap = left + 256; c->in = realloc(c->in, c->in_cap); }
      if (left) memcpy(c->in, rb + o, left);
      c->in_len = left;
    }
    flush_batch();
  }
}
