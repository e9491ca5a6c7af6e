/* load - a load generator for WebSockets, event streams and HTTP requests: one thread, epoll, no dependencies.
 * build: gcc -O2 -Wall -o load load.c          usage: load --help, and targets.py
 * Every loop is bounded by --m / --dur / --max-s. Only 127.0.0.0/8 destinations are accepted. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { ST_NEW, ST_CONNECTING, ST_HS, ST_WAITOPEN, ST_OPEN, ST_CLOSED };
enum { R_SUB, R_PUB, R_HTTPPUB, R_ASK };
enum { M_FANOUT, M_ECHO, M_IDLE, M_HTTP, M_CROWD };

typedef struct conn {
  int fd;
  uint8_t state, role, want_out, sse, chunk_skip;
  uint32_t idx, next_seq, uniq, moff;
  uint8_t *part, *out;
  uint32_t part_len, part_cap, out_off, out_len, out_cap;
  uint64_t *bitmap, t_send;
  char next[96]; /* of a poll: the position to ask behind */
} conn;

/* ---- options ---- */
static int mode = M_FANOUT, N = 1000, M = 200, window = 1, srcs = 8, port = 8000, pubport = 0, conpar = 64,
           size_ = 128, warm = 0, sse = 0, pubhttp = 0, sub_bin = 0, pub_bin = 0, do_sync = 0, spin = 0,
           verbose = 0, poll_ = 0, opaque = 0, post_every = 0, rooms = 1, first = 0;
static double rate = 0, dur = 3, max_s = 60, stall_s = 3, hold_s = 3;
static const char *host = "127.0.0.1", *path_ = "/ws", *pubpath = NULL, *marker = "T=", *wait_open = NULL,
                  *pubwait = NULL, *tmpl = "{P}", *ack = NULL, *echo_tmpl = NULL, *subproto = NULL, *method = "GET";
static const char *hdrs[16], *pubhdrs[16], *openmsg[8], *pubopen[8];
static int nh, nph, nom, npo;
static const char *pong_in[4], *pong_out[4];
static int npong;

static conn *cs, pubc, **again; /* of a crowd: those that come back */
static uint32_t n_again, again_at; /* a ring of N + 1: who has waited longest comes back first */
static int ep, tfd = -1;
static uint8_t *rbuf;
#define RB (1 << 20)
static uint32_t *got;
static uint64_t *sent_at;
static uint32_t total_msgs, sent, completed, cap_msgs;
static uint64_t deliveries, lost_gap, dups, ooo, bytes_in, recvs, frames, disc, errs, hs_fail, nopen, http_ok, http_bad;
static uint64_t t_last;
static int pub_inflight, running, connecting, done_flag;
static char *payload_pad;
static size_t marker_len;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}
static void die(const char *f, ...) {
  va_list a;
  va_start(a, f);
  fprintf(stderr, "load: ");
  vfprintf(stderr, f, a);
  fprintf(stderr, "\n");
  va_end(a);
  exit(2);
}

/* ---- log histogram: 64 sub-buckets per power of two ---- */
typedef struct { uint64_t b[64 * 64], n, max, min; } hist;
static hist h_lat, h_comp;
static inline void h_add(hist *h, uint64_t v) {
  int idx;
  if (v < 64) idx = v;
  else {
    int e = 63 - __builtin_clzll(v);
    idx = (e - 5) * 64 + ((v >> (e - 6)) & 63);
  }
  h->b[idx]++;
  h->n++;
  if (v > h->max) h->max = v;
}
static double h_q(hist *h, double q) {
  uint64_t want = (uint64_t)(q * h->n), acc = 0;
  if (!h->n) return 0;
  for (int i = 0; i < 64 * 64; i++) {
    acc += h->b[i];
    if (acc > want) {
      if (i < 64) return i / 1e3;
      int e = i / 64 + 5;
      return (((1ull << 6) | (i & 63)) * (double)(1ull << (e - 6))) / 1e3;
    }
  }
  return h->max / 1e3;
}

/* ---- escapes in command-line templates: \r \n \t \\ \xHH ---- */
typedef struct { char *s; size_t n; } str;
static str unesc(const char *in) {
  size_t l = strlen(in);
  str r = {malloc(l + 1), 0};
  for (size_t i = 0; i < l; i++) {
    if (in[i] == '\\' && i + 1 < l) {
      char c = in[++i];
      if (c == 'r') r.s[r.n++] = '\r';
      else if (c == 'n') r.s[r.n++] = '\n';
      else if (c == 't') r.s[r.n++] = '\t';
      else if (c == '0') r.s[r.n++] = 0;
      else if (c == 'x' && i + 2 < l) {
        char h[3] = {in[i + 1], in[i + 2], 0};
        r.s[r.n++] = (char)strtol(h, 0, 16);
        i += 2;
      } else r.s[r.n++] = c;
    } else r.s[r.n++] = in[i];
  }
  r.s[r.n] = 0;
  return r;
}
/* expand {P} payload, {L} payload length, {i} conn index, {n} sequence, {r} one of --rooms by either */
static size_t expand(char *dst, size_t cap, str t, const char *pl, size_t pln, uint32_t i, uint32_t n) {
  size_t o = 0;
  for (size_t k = 0; k < t.n; k++) {
    if (t.s[k] == '{' && k + 2 < t.n && t.s[k + 2] == '}' && strchr("PLinr", t.s[k + 1])) {
      char c = t.s[k + 1];
      if (c == 'P') {
        if (o + pln > cap) die("template too long");
        memcpy(dst + o, pl, pln);
        o += pln;
      } else o += snprintf(dst + o, cap - o, "%u", c == 'L' ? (unsigned)pln : c == 'i' ? i : c == 'r' ? (i + n + first) % rooms : n);
      k += 2;
    } else {
      if (o >= cap) die("template too long");
      dst[o++] = t.s[k];
    }
  }
  return o;
}

/* ---- output ---- */
static void arm(conn *c, int out) {
  if (c->want_out == out) return;
  struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
  c->want_out = out;
}
static void c_close(conn *c, int unexpected) {
  if (c->state == ST_CLOSED) return;
  if (c->state == ST_OPEN && (c->role == R_SUB || c->role == R_ASK)) nopen--;
  c->state = ST_CLOSED;
  close(c->fd);
  c->fd = -1;
  if (unexpected) disc++;
  if (mode == M_CROWD && c->role == R_SUB) { c->t_send = now_ns(); again[(again_at + n_again++) % (N + 1)] = c; }
}
static void c_send(conn *c, const void *p, size_t n) {
  if (c->state == ST_CLOSED) return;
  if (c->out_len == 0) {
    ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);
    if (w == (ssize_t)n) return;
    if (w < 0) {
      if (errno != EAGAIN) { errs++; c_close(c, 1); return; }
      w = 0;
    }
    p = (const char *)p + w;
    n -= w;
  }
  if (c->out_off + c->out_len + n > c->out_cap) {
    if (c->out_len) memmove(c->out, c->out + c->out_off, c->out_len);
    c->out_off = 0;
    if (c->out_len + n > c->out_cap) {
      c->out_cap = (c->out_len + n) * 2;
      c->out = realloc(c->out, c->out_cap);
    }
  }
  memcpy(c->out + c->out_off + c->out_len, p, n);
  c->out_len += n;
  arm(c, 1);
}
static void c_flush(conn *c) {
  if (c->out_len) {
    ssize_t w = send(c->fd, c->out + c->out_off, c->out_len, MSG_NOSIGNAL);
    if (w < 0) {
      if (errno == EAGAIN) return;
      errs++;
      c_close(c, 1);
      return;
    }
    c->out_off += w;
    c->out_len -= w;
    if (c->out_len == 0) c->out_off = 0;
  }
  if (!c->out_len) arm(c, 0);
}
static uint8_t fbuf[1 << 20];
static void ws_send(conn *c, int op, const char *p, size_t n) {
  size_t h = 2;
  static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
  fbuf[0] = 0x80 | op;
  if (n < 126) fbuf[1] = 0x80 | n;
  else if (n < 65536) { fbuf[1] = 0x80 | 126; fbuf[2] = n >> 8; fbuf[3] = n; h = 4; }
  else { fbuf[1] = 0x80 | 127; for (int i = 0; i < 8; i++) fbuf[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i)); h = 10; }
  if (h + 4 + n > sizeof fbuf) die("frame too large");
  memcpy(fbuf + h, key, 4);
  h += 4;
  uint8_t *d = fbuf + h;
  for (size_t i = 0; i < n; i++) d[i] = p[i] ^ key[i & 3];
  c_send(c, fbuf, h + n);
}

/* ---- connecting ---- */
static struct sockaddr_in dst_sub, dst_pub;
static void c_connect(conn *c, struct sockaddr_in *dst, int k) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket: %s", strerror(errno));
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (srcs > 0) {
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in s = {.sin_family = AF_INET};
    s.sin_addr.s_addr = htonl(0x7f000002u + (k % srcs));
    if (bind(c->fd, (void *)&s, sizeof s)) die("bind: %s", strerror(errno));
  }
  c->state = ST_CONNECTING;
  if (connect(c->fd, (void *)dst, sizeof *dst) && errno != EINPROGRESS) die("connect: %s", strerror(errno));
  struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
  if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl: %s", strerror(errno));
  c->want_out = 2;
}
static char mbuf[1 << 19], hb[8192];
static str s_open[8], s_pubopen[8], s_tmpl, s_echo, s_wait, s_pubwait, s_ack, s_pin[4], s_pout[4], s_path, s_pubpath;
static uint64_t t_now;
static size_t mkpayload(uint64_t ts, uint32_t seq);
/* ask for what is behind c->next, or post a message; one request is outstanding */
static void ask(conn *c, int wait_s) {
  char p[2048];
  size_t pn = expand(p, sizeof p - 1, s_path, "", 0, c->idx, 0), n = 0;
  p[pn] = 0;
  int k;
  c->t_send = now_ns();
  if (!strcmp(method, "POST")) {
    size_t payload = mkpayload(c->t_send, c->uniq++);
    n = expand(mbuf, sizeof mbuf, s_tmpl, payload_pad, payload, c->idx, c->uniq);
    k = snprintf(hb, sizeof hb, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %zu\r\n", p, host, port, n);
  } else {
    k = snprintf(hb, sizeof hb, "GET %s?since=%s", p, c->next);
    if (wait_s) k += snprintf(hb + k, sizeof hb - k, "&wait=%d", wait_s);
    k += snprintf(hb + k, sizeof hb - k, " HTTP/1.1\r\nHost: %s:%d\r\n", host, port);
  }
  for (int i = 0; i < nh; i++) k += snprintf(hb + k, sizeof hb - k, "%s\r\n", hdrs[i]);
  k += snprintf(hb + k, sizeof hb - k, "\r\n");
  if (k + n > sizeof hb) die("request too large");
  memcpy(hb + k, mbuf, n);
  c_send(c, hb, k + n);
}
static void start_hs(conn *c) {
  int pub = c->role != R_SUB;
  if (c->role == R_HTTPPUB) { c->state = ST_OPEN; arm(c, 0); return; }
  if (c->role == R_ASK) {
    arm(c, 0);
    strcpy(c->next, "now");
    if (poll_ || !strcmp(method, "GET")) { c->state = ST_WAITOPEN; ask(c, 0); }
    else { c->state = ST_OPEN; nopen++; }
    return;
  }
  str pt = pub ? s_pubpath : s_path;
  char p[2048];
  size_t pn = expand(p, sizeof p - 1, pt, "", 0, c->idx, 0);
  p[pn] = 0;
  int n;
  if (c->sse)
    n = snprintf(hb, sizeof hb, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n", p, host, port);
  else {
    n = snprintf(hb, sizeof hb,
                 "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n", p, host, port);
    if (subproto) n += snprintf(hb + n, sizeof hb - n, "Sec-WebSocket-Protocol: %s\r\n", subproto);
  }
  int k = pub ? nph : nh;
  for (int i = 0; i < k; i++) n += snprintf(hb + n, sizeof hb - n, "%s\r\n", pub ? pubhdrs[i] : hdrs[i]);
  n += snprintf(hb + n, sizeof hb - n, "\r\n");
  c->state = ST_HS;
  arm(c, 0);
  c_send(c, hb, n);
}
static void c_opened(conn *c) {
  if (mode == M_CROWD && c->t_send) {
    h_add(&h_comp, now_ns() - c->t_send);
    c->t_send = 0;
  }
  c->state = ST_OPEN;
  if (c->role == R_SUB) nopen++;
}
static void hs_done(conn *c) {
  int pub = c->role != R_SUB;
  int k = pub ? npo : nom;
  for (int i = 0; i < k; i++) {
    size_t n = expand(mbuf, sizeof mbuf, pub ? s_pubopen[i] : s_open[i], "", 0, c->idx, 0);
    ws_send(c, sub_bin ? 2 : 1, mbuf, n);
  }
  if (pub ? s_pubwait.n : s_wait.n) c->state = ST_WAITOPEN;
  else c_opened(c);
}

/* ---- deliveries ---- */
static void echo_next(conn *c);
static inline uint64_t dig(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; i++) v = v * 10 + (p[i] - '0');
  return v;
}
static void delivered(conn *c, uint64_t ts, uint32_t seq) {
  if (mode == M_ECHO) {
    if (c->t_send && ts == c->t_send && !ack) {
      h_add(&h_lat, t_now - ts);
      deliveries++;
      t_last = t_now;
      echo_next(c);
    }
    return;
  }
  if (mode == M_CROWD) { /* whoever has published it: the clock is the machine's */
    if (c->role != R_SUB) return;
    deliveries++;
    t_last = t_now;
    if (running) h_add(&h_lat, t_now - ts);
    return;
  }
  if ((c->role != R_SUB && c->role != R_ASK) || seq >= cap_msgs) return;
  if (seq == c->next_seq && !c->bitmap) c->next_seq++;
  else {
    if (!c->bitmap) {
      if (seq < c->next_seq) { dups++; return; }
      c->bitmap = calloc((cap_msgs + 63) / 64, 8);
      for (uint32_t i = 0; i < c->next_seq; i++) c->bitmap[i >> 6] |= 1ull << (i & 63);
    }
    if (c->bitmap[seq >> 6] >> (seq & 63) & 1) { dups++; return; }
    c->bitmap[seq >> 6] |= 1ull << (seq & 63);
    if (seq > c->next_seq) lost_gap += seq - c->next_seq;
    if (seq < c->next_seq) ooo++;
    else c->next_seq = seq + 1;
  }
  c->uniq++;
  deliveries++;
  t_last = t_now;
  if (running) h_add(&h_lat, t_now - ts);
  if (++got[seq] == (uint32_t)N) {
    completed++;
    if (running) h_add(&h_comp, t_now - ts);
  }
}
#define NEED (19 + 3 + 8)
/* scan a byte range for "<marker>19digits;S=8digits"; returns bytes consumed (rest = incomplete match) */
static size_t scan(conn *c, const uint8_t *p, size_t n) {
  size_t o = 0;
  if (c->moff && c->moff + marker_len + NEED <= n && !memcmp(p + c->moff, marker, marker_len)) o = c->moff; /* fast path */
  while (o + 1 <= n) {
    const uint8_t *q = memchr(p + o, marker[0], n - o);
    if (!q) return n;
    size_t at = q - p;
    if (at + marker_len > n) return at;
    if (memcmp(q, marker, marker_len)) { o = at + 1; continue; }
    if (at + marker_len + NEED > n) return at;
    const uint8_t *d = q + marker_len;
    if (d[19] == ';' && d[20] == 'S' && d[21] == '=') {
      if (!c->moff) c->moff = at;
      delivered(c, dig(d, 19), (uint32_t)dig(d + 22, 8));
      o = at + marker_len + NEED;
      if (c->state == ST_CLOSED) return n;
    } else o = at + 1;
  }
  return n;
}
static void on_msg(conn *c, const uint8_t *p, size_t n) {
  frames++;
  if (c->state == ST_WAITOPEN) {
    str *w = c->role == R_SUB ? &s_wait : &s_pubwait;
    if (memmem(p, n, w->s, w->n)) c_opened(c);
    return;
  }
  for (int i = 0; i < npong; i++)
    if (n == s_pin[i].n && !memcmp(p, s_pin[i].s, n)) { ws_send(c, 1, s_pout[i].s, s_pout[i].n); return; }
  if (ack && mode == M_ECHO) {
    if (c->t_send && memmem(p, n, s_ack.s, s_ack.n)) {
      h_add(&h_lat, t_now - c->t_send);
      deliveries++;
      t_last = t_now;
      echo_next(c);
    }
    return;
  }
  if (opaque) { /* what is in it is not looked at: each frame is the next message */
    if (c->role == R_SUB && c->next_seq < sent) delivered(c, sent_at[c->next_seq], c->next_seq);
    return;
  }
  scan(c, p, n);
}
static uint64_t t_end_echo;
/* the answer to a request of ours; returns what it takes, 0 if it is not whole */
static size_t on_answer(conn *c, uint8_t *b, size_t n) {
  uint8_t *e = memmem(b, n, "\r\n\r\n", 4);
  if (!e) return 0;
  size_t hl = e - b + 4;
  e[3] = 0;
  char *cl = strcasestr((char *)b, "content-length:");
  int code = atoi((char *)b + 9);
  e[3] = '\n';
  if (!cl) die("an answer without a length: %.300s", b);
  size_t L = strtoul(cl + 15, 0, 10);
  if (n < hl + L) return 0;
  if (code < 200 || code > 299) { if (!http_bad++) fprintf(stderr, "load: HTTP %d: %.300s\n", code, b); }
  else http_ok++;
  uint8_t *q = memmem(b + hl, L, "\"next\":\"", 8);
  if (q) {
    uint8_t *end = memchr(q + 8, '"', b + hl + L - q - 8);
    size_t l = end ? (size_t)(end - q - 8) : 0;
    if (!l || l >= sizeof c->next) die("no position");
    memcpy(c->next, q + 8, l);
    c->next[l] = 0;
  }
  if (c->state == ST_WAITOPEN) {
    c->state = ST_OPEN;
    c->t_send = 0;
    nopen++;
    if (poll_) ask(c, 20);
    return hl + L;
  }
  if (poll_) {
    c->moff = 0;
    scan(c, b + hl, L);
    ask(c, 20);
  } else if (c->t_send) {
    h_add(&h_lat, t_now - c->t_send);
    deliveries++;
    t_last = t_now;
    c->t_send = 0;
    if (rate <= 0 && t_now < t_end_echo) ask(c, 0);
  }
  return hl + L;
}
/* returns consumed */
static size_t on_data(conn *c, uint8_t *b, size_t n) {
  size_t o = 0;
  if (c->role == R_ASK) return on_answer(c, b, n);
  if (c->role == R_HTTPPUB) { /* one response at a time */
    uint8_t *e = memmem(b, n, "\r\n\r\n", 4);
    if (!e) return 0;
    size_t hl = e - b + 4;
    e[3] = 0;
    char *cl = strcasestr((char *)b, "content-length:"), *te = strcasestr((char *)b, "transfer-encoding: chunked");
    int code = atoi((char *)b + 9), clos = strcasestr((char *)b, "connection: close") != NULL;
    e[3] = '\n';
    if (cl) {
      size_t L = strtoul(cl + 15, 0, 10);
      if (n < hl + L) return 0;
      o = hl + L;
    } else if (te) {
      uint8_t *z = memmem(b + hl - 2, n - hl + 2, "\r\n0\r\n\r\n", 7);
      if (!z) return 0;
      o = z + 7 - b;
    } else o = hl;
    if (code >= 200 && code < 300) http_ok++;
    else { if (!http_bad++) fprintf(stderr, "load: publish got HTTP %d: %.200s\n", code, b); }
    pub_inflight = 0;
    if (clos) { c_close(c, 1); return n; } /* fan_phase reconnects; never post on a connection the server is closing */
    return o;
  }
  if (c->state == ST_HS) {
    uint8_t *e = memmem(b, n, "\r\n\r\n", 4);
    if (!e) return 0;
    int code = n > 12 ? atoi((char *)b + 9) : 0;
    if (code != (c->sse ? 200 : 101)) {
      if (!hs_fail++) fprintf(stderr, "load: handshake failed: %.300s\n", b);
      c_close(c, 1);
      return n;
    }
    o = e - b + 4;
    hs_done(c);
  }
  if (c->sse) {
    if (c->state == ST_WAITOPEN) {
      if (memmem(b + o, n - o, s_wait.s, s_wait.n)) c_opened(c);
      else return o;
    }
    c->moff = 0;
    return o + scan(c, b + o, n - o);
  }
  while (c->state != ST_CLOSED) {
    if (n - o < 2) break;
    uint8_t *f = b + o;
    int op = f[0] & 15;
    uint64_t L = f[1] & 127;
    size_t h = 2;
    if (L == 126) { if (n - o < 4) break; L = f[2] << 8 | f[3]; h = 4; }
    else if (L == 127) { if (n - o < 10) break; L = 0; for (int i = 0; i < 8; i++) L = L << 8 | f[2 + i]; h = 10; }
    if (L > RB / 2) { errs++; c_close(c, 1); return n; }
    if (n - o < h + L) break;
    uint8_t *p = f + h;
    o += h + L;
    if (op <= 2) on_msg(c, p, L);
    else if (op == 9) ws_send(c, 10, (char *)p, L);
    else if (op == 8) {
      if (verbose || disc < 3) fprintf(stderr, "load: server closed conn %u code %d\n", c->idx, L >= 2 ? p[0] << 8 | p[1] : 0);
      c_close(c, 1);
      return n;
    }
  }
  return o;
}
static void on_readable(conn *c) {
  size_t have = c->part_len;
  if (have) memcpy(rbuf, c->part, have);
  ssize_t r = recv(c->fd, rbuf + have, RB - have, 0);
  if (r <= 0) {
    if (r < 0 && errno == EAGAIN) return;
    if (c->state == ST_CONNECTING || c->state == ST_HS) hs_fail++;
    c_close(c, 1);
    return;
  }
  recvs++;
  bytes_in += r;
  size_t n = have + r;
  size_t o = on_data(c, rbuf, n);
  size_t left = n > o ? n - o : 0;
  if (c->state == ST_CLOSED) left = 0;
  if (left) {
    if (left > c->part_cap) { c->part_cap = left + 512; c->part = realloc(c->part, c->part_cap); }
    memcpy(c->part, rbuf + o, left);
  }
  c->part_len = left;
}

/* ---- publishing ---- */
static size_t mkpayload(uint64_t ts, uint32_t seq) {
  char t[64];
  int n = snprintf(t, sizeof t, "%s%019llu;S=%08u;", marker, (unsigned long long)ts, seq);
  memcpy(payload_pad, t, n);
  return size_ > n ? size_ : n;
}
static void publish(uint64_t ts) {
  size_t pn = mkpayload(ts, sent);
  size_t n = expand(mbuf, sizeof mbuf, s_tmpl, payload_pad, pn, 0, sent);
  sent_at[sent] = ts;
  sent++;
  if (pubc.role == R_HTTPPUB) {
    int k = snprintf(hb, sizeof hb, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %zu\r\n", s_pubpath.s, host, ntohs(dst_pub.sin_port), n);
    for (int i = 0; i < nph; i++) k += snprintf(hb + k, sizeof hb - k, "%s\r\n", pubhdrs[i]);
    k += snprintf(hb + k, sizeof hb - k, "\r\n");
    if (k + n > sizeof fbuf) die("post too large");
    memcpy(fbuf, hb, k);
    memcpy(fbuf + k, mbuf, n);
    pub_inflight = 1;
    c_send(&pubc, fbuf, k + n);
  } else ws_send(&pubc, pub_bin ? 2 : 1, mbuf, n);
}
static void echo_next(conn *c) {
  if (t_now >= t_end_echo) { c->t_send = 0; return; }
  c->t_send = now_ns();
  size_t pn = mkpayload(c->t_send, c->uniq++);
  size_t n = expand(mbuf, sizeof mbuf, s_echo, payload_pad, pn, c->idx, c->uniq);
  ws_send(c, pub_bin ? 2 : 1, mbuf, n);
}

static struct epoll_event evs[1024];
static int stdin_go;
static int pump(int timeout_ms) {
  int n = epoll_wait(ep, evs, 1024, spin && (running || connecting) ? 0 : timeout_ms);
  for (int i = 0; i < n; i++) {
    conn *c = evs[i].data.ptr;
    if (!c) { /* stdin */
      char b[256];
      ssize_t r = read(0, b, sizeof b);
      if (r <= 0) { done_flag = 1; stdin_go = 1; epoll_ctl(ep, EPOLL_CTL_DEL, 0, NULL); }
      else stdin_go = 1;
      continue;
    }
    if ((void *)c == (void *)&tfd) { uint64_t x; if (read(tfd, &x, 8)) {} continue; }
    if (c->state == ST_CLOSED) continue;
    t_now = now_ns();
    if (c->state == ST_CONNECTING) {
      int er = 0;
      socklen_t l = sizeof er;
      getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &er, &l);
      if (er) { if (!hs_fail++) fprintf(stderr, "load: connect: %s\n", strerror(er)); c_close(c, 1); continue; }
      start_hs(c);
      continue;
    }
    if (evs[i].events & EPOLLOUT) c_flush(c);
    if (c->state != ST_CLOSED && evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
  }
  return n;
}
static void wait_go(const char *msg) {
  printf("%s\n", msg);
  fflush(stdout);
  stdin_go = 0;
  uint64_t t = now_ns() + (uint64_t)(max_s * 1e9);
  while (!stdin_go && now_ns() < t) pump(100);
}
/* run fan-out until `upto` messages were published and delivered */
static void fan_phase(uint32_t upto, int w, double r) {
  uint64_t t0 = now_ns(), dl = t0 + (uint64_t)(max_s * 1e9), base = sent;
  t_last = t0;
  if (r > 0 && tfd < 0) {
    tfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &tfd};
    epoll_ctl(ep, EPOLL_CTL_ADD, tfd, &e);
  }
  while (completed < upto) {
    uint64_t t = now_ns();
    if (pubc.state == ST_CLOSED && pubc.role == R_HTTPPUB && !pub_inflight) { /* server answers with Connection: close */
      pubc.part_len = pubc.out_len = pubc.out_off = 0;
      disc--;
      c_connect(&pubc, &dst_pub, 0);
    }
    if (pubc.role == R_HTTPPUB && pubc.state != ST_OPEN && t < dl && t < t_last + (uint64_t)((stall_s + 5) * 1e9)) { pump(20); continue; }
    if (t > dl || (sent >= upto && t > t_last + (uint64_t)(stall_s * 1e9)) || pubc.state == ST_CLOSED) break;
    if (t > t_last + (uint64_t)((stall_s + 5) * 1e9)) break;
    if (r > 0) {
      while (sent < upto && !pub_inflight) {
        uint64_t due = t0 + (uint64_t)((sent - base) * 1e9 / r);
        if (due > t) {
          struct itimerspec it = {.it_value = {due / 1000000000ull, due % 1000000000ull}};
          timerfd_settime(tfd, TFD_TIMER_ABSTIME, &it, NULL);
          break;
        }
        publish(due); /* intended send time: no coordinated omission */
      }
    } else {
      int burst = 64;
      while (sent < upto && !pub_inflight && pubc.out_len == 0 && (w <= 0 || sent - completed < (uint32_t)w) && burst--) publish(now_ns());
      if (burst < 0) { pump(0); continue; }
    }
    pump(50);
  }
}
/* requests for as long as `dur`: each connection again and again, or one after the other at `rate` a second */
static void http_phase(uint64_t t0) {
  t_now = t_last = t0;
  t_end_echo = t0 + (uint64_t)(dur * 1e9);
  if (rate <= 0) {
    for (int i = 0; i < N; i++) if (cs[i].state == ST_OPEN) ask(&cs[i], 0);
    while (now_ns() < t_end_echo + 50000000ull) {
      pump(20);
      if (now_ns() > t_last + (uint64_t)(stall_s * 1e9)) break;
    }
    return;
  }
  for (uint64_t n = 0; n < (uint64_t)(dur * rate); n++) {
    uint64_t due = t0 + (uint64_t)(n * 1e9 / rate);
    for (uint64_t t = now_ns(); t < due; t = now_ns()) pump((due - t) / 1000000 + 1);
    conn *c = &cs[n % N];
    if (c->state == ST_OPEN && !c->t_send) ask(c, 0);
    if (post_every && n % post_every == 0 && pubc.state == ST_OPEN && !pub_inflight && sent < cap_msgs) publish(due);
  }
  for (uint64_t t = now_ns(); now_ns() < t + 100000000ull;) pump(20);
}
/* a crowd: readers that come back when they are sent away, and perhaps messages at `rate` to all rooms in turn */
static void crowd_phase(uint64_t t0) {
  uint64_t end = t0 + (uint64_t)(hold_s * 1e9);
  uint32_t n = 0;
  for (uint64_t t = t0; t < end; t = now_ns()) {
    for (int k = 0; k < conpar && n_again; k++) { /* so many in each turn */
      conn *c = again[again_at];
      again_at = (again_at + 1) % (N + 1);
      n_again--;
      c->part_len = c->out_len = c->out_off = 0;
      c_connect(c, &dst_sub, c->idx);
    }
    if (rate > 0 && pubc.state == ST_CLOSED) {
      pubc.part_len = pubc.out_len = pubc.out_off = 0;
      c_connect(&pubc, &dst_pub, 0);
    }
    uint64_t due = rate > 0 ? t0 + (uint64_t)(n * 1e9 / rate) : end;
    if (rate > 0 && t >= due && pubc.state == ST_OPEN && sent < cap_msgs) {
      publish(due);
      n++;
      continue;
    }
    pump(n_again ? 1 : (int)((due > t ? due - t : 0) / 1000000) + 1);
  }
}
static int conn_all(void) {
  int next = 0, inprog = 0;
  uint64_t dl = now_ns() + (uint64_t)(max_s * 1e9);
  int lo = 0;
  while ((int)nopen < N && now_ns() < dl) {
    /* in progress = started - open - closed */
    inprog = next - (int)nopen - (int)(disc);
    while (next < N && inprog < conpar) {
      c_connect(&cs[next], &dst_sub, next);
      next++;
      inprog++;
    }
    pump(200);
    if (hs_fail > 50 || (next == N && nopen + disc >= (uint64_t)N)) break;
  }
  (void)lo;
  return (int)nopen;
}
static void usage(void) {
  puts("load --mode fanout|echo|idle|http|crowd --host 127.0.0.1 --port P --n N --path /ws [--sse] [--header 'K: V'] [--subproto p]\n"
       "  [--open MSG]* [--wait-open STR] [--sub-bin] [--pong IN OUT]*  (templates: {P} payload {L} len {i} conn {n} seq, \\r \\n \\xHH)\n"
       "  publisher: [--pub-path P] [--pub-port P] [--pub-open MSG]* [--pub-wait STR] [--pub-http] [--pub-header H]* [--pub-bin] [--tmpl T]\n"
       "  fanout: --m M --window W (0=unlimited) | --rate R   --size S --warm K\n"
       "  echo: --dur S --echo-tmpl T [--ack STR]    idle: --hold S\n"
       "  crowd: --rooms R --first K (path with {r}) --hold S [--rate R --tmpl T]\n"
       "  http: [--method POST --tmpl T] --dur S [--rate R [--post-every K]]    fanout by long polls: --poll    compressed: --opaque\n"
       "  common: --conpar K --srcs K --marker T= --max-s S --stall-s S --sync (READY/GO/DONE/EXIT on stdio) --spin");
  exit(1);
}
int main(int argc, char **argv) {
#define A(s) (!strcmp(a, s))
#define V (i + 1 < argc ? argv[++i] : (usage(), ""))
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i];
    if (A("--mode")) { const char *m = V; mode = !strcmp(m, "echo") ? M_ECHO : !strcmp(m, "idle") ? M_IDLE : !strcmp(m, "http") ? M_HTTP : !strcmp(m, "crowd") ? M_CROWD : M_FANOUT; }
    else if (A("--host")) host = V;
    else if (A("--port")) port = atoi(V);
    else if (A("--n")) N = atoi(V);
    else if (A("--m")) M = atoi(V);
    else if (A("--size")) size_ = atoi(V);
    else if (A("--window")) window = atoi(V);
    else if (A("--rate")) rate = atof(V);
    else if (A("--dur")) dur = atof(V);
    else if (A("--hold")) hold_s = atof(V);
    else if (A("--max-s")) max_s = atof(V);
    else if (A("--stall-s")) stall_s = atof(V);
    else if (A("--warm")) warm = atoi(V);
    else if (A("--path")) path_ = V;
    else if (A("--header")) hdrs[nh++ & 15] = V;
    else if (A("--subproto")) subproto = V;
    else if (A("--open")) openmsg[nom++ & 7] = V;
    else if (A("--wait-open")) wait_open = V;
    else if (A("--sub-bin")) sub_bin = 1;
    else if (A("--pong")) { pong_in[npong] = V; pong_out[npong & 3] = V; npong++; }
    else if (A("--sse")) sse = 1;
    else if (A("--pub-path")) pubpath = V;
    else if (A("--pub-port")) pubport = atoi(V);
    else if (A("--pub-open")) pubopen[npo++ & 7] = V;
    else if (A("--pub-wait")) pubwait = V;
    else if (A("--pub-http")) pubhttp = 1;
    else if (A("--pub-header")) pubhdrs[nph++ & 15] = V;
    else if (A("--pub-bin")) pub_bin = 1;
    else if (A("--tmpl")) tmpl = V;
    else if (A("--echo-tmpl")) echo_tmpl = V;
    else if (A("--ack")) ack = V;
    else if (A("--marker")) marker = V;
    else if (A("--conpar")) conpar = atoi(V);
    else if (A("--srcs")) srcs = atoi(V);
    else if (A("--sync")) do_sync = 1;
    else if (A("--spin")) spin = 1;
    else if (A("--verbose")) verbose = 1;
    else if (A("--poll")) poll_ = 1;
    else if (A("--opaque")) opaque = 1;
    else if (A("--rooms")) rooms = atoi(V);
    else if (A("--first")) first = atoi(V);
    else if (A("--method")) method = V;
    else if (A("--post-every")) post_every = atoi(V);
    else usage();
  }
  dst_sub.sin_family = AF_INET;
  dst_sub.sin_port = htons(port);
  if (!inet_aton(host, &dst_sub.sin_addr) || (ntohl(dst_sub.sin_addr.s_addr) >> 24) != 127) die("only 127.0.0.0/8 allowed");
  dst_pub = dst_sub;
  if (pubport) dst_pub.sin_port = htons(pubport);
  if (N < 1 || N > 19900 || M > 5000000) die("bad n/m");
  for (int i = 0; i < nom; i++) s_open[i] = unesc(openmsg[i]);
  for (int i = 0; i < npo; i++) s_pubopen[i] = unesc(pubopen[i]);
  for (int i = 0; i < npong; i++) s_pin[i] = unesc(pong_in[i]), s_pout[i] = unesc(pong_out[i]);
  s_tmpl = unesc(tmpl);
  s_echo = unesc(echo_tmpl ? echo_tmpl : tmpl);
  if (wait_open) s_wait = unesc(wait_open);
  if (pubwait) s_pubwait = unesc(pubwait);
  if (ack) s_ack = unesc(ack);
  s_path = unesc(path_);
  s_pubpath = unesc(pubpath ? pubpath : path_);
  marker_len = strlen(marker);
  payload_pad = malloc(size_ + 128);
  memset(payload_pad, 'x', size_ + 128);
  rbuf = malloc(RB + 64);
  cap_msgs = total_msgs = warm + M;
  got = calloc(cap_msgs + 1, 4);
  sent_at = calloc(cap_msgs + 1, 8);
  cs = calloc(N, sizeof *cs);
  again = calloc(N + 1, sizeof *again);
  for (int i = 0; i < N; i++) cs[i].idx = i, cs[i].fd = -1, cs[i].sse = sse, cs[i].role = poll_ || mode == M_HTTP ? R_ASK : R_SUB;
  ep = epoll_create1(EPOLL_CLOEXEC);
  if (do_sync) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(ep, EPOLL_CTL_ADD, 0, &e);
  }
  uint64_t c0 = now_ns();
  connecting = 1;
  conn_all();
  connecting = 0;
  double conn_s = (now_ns() - c0) / 1e9;
  int opened = nopen;
  if (mode == M_CROWD && rate > 0) {
    pubc.role = R_PUB;
    pubc.idx = 0;
    c_connect(&pubc, &dst_pub, 0);
    for (uint64_t dl = now_ns() + 10000000000ull; pubc.state < ST_OPEN && now_ns() < dl;) pump(100);
  }
  if (mode == M_HTTP && post_every) {
    pubc.role = R_HTTPPUB;
    c_connect(&pubc, &dst_pub, 0);
    while (pubc.state < ST_OPEN) pump(100);
  }
  if (mode == M_FANOUT) {
    pubc.role = pubhttp ? R_HTTPPUB : R_PUB;
    pubc.idx = N;
    c_connect(&pubc, &dst_pub, 0);
    uint64_t dl = now_ns() + 10000000000ull;
    while (pubc.state < ST_OPEN && now_ns() < dl) pump(100);
    if (pubc.state != ST_OPEN) die("publisher could not connect");
    if (opened < N) N = opened; /* still run, reported through "opened" */
    if (warm) fan_phase(warm, 1, 0);
    if (warm && completed < (uint32_t)warm) fprintf(stderr, "load: warm-up incomplete: %u of %d\n", completed, warm);
  }
  char ready[160];
  snprintf(ready, sizeof ready, "READY {\"opened\":%d,\"conn_s\":%.4f,\"hs_fail\":%llu,\"disc\":%llu}", opened, conn_s,
           (unsigned long long)hs_fail, (unsigned long long)disc);
  if (do_sync) wait_go(ready);
  struct rusage u0, u1;
  getrusage(RUSAGE_SELF, &u0);
  uint64_t d0 = deliveries, r0 = recvs, f0 = frames, b0 = bytes_in, s0 = sent, t0 = now_ns();
  uint32_t comp0 = completed;
  running = 1;
  if (mode == M_FANOUT) {
    cap_msgs = total_msgs;
    fan_phase(warm + M, window, rate);
  } else if (mode == M_CROWD) {
    crowd_phase(t0);
  } else if (mode == M_HTTP) {
    http_phase(t0);
  } else if (mode == M_ECHO) {
    t_now = t0;
    t_end_echo = t0 + (uint64_t)(dur * 1e9);
    t_last = t0;
    for (int i = 0; i < N; i++) if (cs[i].state == ST_OPEN) echo_next(&cs[i]);
    while (now_ns() < t_end_echo + 50000000ull) {
      pump(20);
      if (now_ns() > t_last + (uint64_t)(stall_s * 1e9)) break;
    }
  } else {
    uint64_t e = t0 + (uint64_t)(hold_s * 1e9);
    while (now_ns() < e) pump(100);
    t_last = now_ns();
  }
  running = 0;
  getrusage(RUSAGE_SELF, &u1);
  double el = (t_last > t0 ? t_last - t0 : 1) / 1e9;
  double gcpu = (u1.ru_utime.tv_sec - u0.ru_utime.tv_sec) + (u1.ru_utime.tv_usec - u0.ru_utime.tv_usec) / 1e6 +
                (u1.ru_stime.tv_sec - u0.ru_stime.tv_sec) + (u1.ru_stime.tv_usec - u0.ru_stime.tv_usec) / 1e6;
  uint64_t expect = mode == M_FANOUT ? (uint64_t)(sent - s0) * N : 0, d = deliveries - d0;
  char out[2048];
  snprintf(out, sizeof out,
           "{\"mode\":\"%s\",\"sse\":%d,\"n\":%d,\"opened\":%d,\"still_open\":%llu,\"conn_s\":%.4f,\"accept_per_s\":%.0f,"
           "\"size\":%d,\"window\":%d,\"rate\":%.1f,\"sent\":%llu,\"expected\":%llu,\"deliveries\":%llu,\"elapsed_s\":%.4f,"
           "\"per_s\":%.0f,\"lost\":%lld,\"dup\":%llu,\"ooo\":%llu,\"msgs_complete\":%u,\"lat_p50_us\":%.1f,\"lat_p90_us\":%.1f,"
           "\"lat_p99_us\":%.1f,\"lat_max_us\":%.1f,\"all_p50_us\":%.1f,\"all_p99_us\":%.1f,\"gen_cpu_s\":%.3f,\"recvs\":%llu,"
           "\"frames\":%llu,\"bytes\":%llu,\"disc\":%llu,\"errs\":%llu,\"hs_fail\":%llu,\"http_bad\":%llu}",
           mode == M_FANOUT ? "fanout" : mode == M_ECHO ? "echo" : "idle", sse, N, opened, (unsigned long long)nopen, conn_s,
           opened / (conn_s > 0 ? conn_s : 1), size_, window, rate, (unsigned long long)(sent - s0), (unsigned long long)expect,
           (unsigned long long)d, el, d / el, mode == M_FANOUT ? (long long)(expect - d) : 0ll, (unsigned long long)dups,
           (unsigned long long)ooo, completed - comp0, h_q(&h_lat, .5), h_q(&h_lat, .9), h_q(&h_lat, .99), h_lat.max / 1e3,
           h_q(&h_comp, .5), h_q(&h_comp, .99), gcpu, (unsigned long long)(recvs - r0), (unsigned long long)(frames - f0),
           (unsigned long long)(bytes_in - b0), (unsigned long long)disc, (unsigned long long)errs, (unsigned long long)hs_fail,
           (unsigned long long)http_bad);
  if (do_sync) { printf("DONE "); wait_go(out); }
  else puts(out);
  return 0;
}
