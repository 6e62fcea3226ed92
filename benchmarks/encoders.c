// The textbook encoders in plain C, one row after another: what benchmarks/encoders.py holds the
// kernels against. x: rows x time; out: likewise.
#include <math.h>
#include <stdint.h>

void step_forward(const float* x, long rows, long time, const float* p, const float* h, long n,
                  float* out) {
  for (long r = 0; r < rows; r++, x += time, out += time) {
    float base = 0;
    for (long t = 0; t < time; t++) {
      const float above = base + p[0], below = base - p[0];
      const int up = x[t] > above, down = x[t] < below;
      base = up ? above : down ? below : base;
      out[t] = (float)(up - down);
    }
  }
}

void step_forward_decode(const float* s, long rows, long time, const float* p, const float* h,
                         long n, float* out) {
  for (long r = 0; r < rows; r++, s += time, out += time) {
    float base = 0;
    for (long t = 0; t < time; t++) out[t] = base = base + p[0] * s[t];
  }
}

void lif(const float* x, long rows, long time, const float* p, const float* h, long n, float* out) {
  for (long r = 0; r < rows; r++, x += time, out += time) {
    float v = 0;
    for (long t = 0; t < time; t++) {
      v += x[t];
      const int up = v > p[0], down = v < -p[0];
      v = (up | down) ? 0.0f : v * p[1];
      out[t] = (float)(up - down);
    }
  }
}

void pwm(const float* x, long rows, long time, const float* p, const float* h, long n, float* out) {
  const uint32_t step = (uint32_t)llrint((double)p[0] * 4294967296.0);
  for (long r = 0; r < rows; r++, x += time, out += time) {
    uint32_t phase = 0;
    int last = 0;
    for (long t = 0; t < time; t++) {
      const double z = x[t] > 0 ? (double)x[t] : 0.0, carrier = phase * 0x1p-32;
      int level = z < carrier;
      if (z > 1.0 - carrier) level = -1;
      out[t] = (float)(level != last ? level : 0);
      last = level;
      phase += step;
    }
  }
}

// residuals: work space of `time` numbers, behind the n taps in h
void bsa(const float* x, long rows, long time, const float* p, const float* h, long n, float* out) {
  float* residual = (float*)h + n;
  for (long r = 0; r < rows; r++, x += time, out += time) {
    for (long t = 0; t < time; t++) residual[t] = x[t];
    for (long t = 0; t < time; t++) {
      const long k_end = n < time - t ? n : time - t;
      float* s = residual + t;
      float with = 0, without = 0;
      for (long k = 0; k < k_end; k++) {
        without += fabsf(s[k]);
        with += fabsf(s[k] - h[k]);
      }
      const int spike = with <= without - p[0];
      if (spike)
        for (long k = 0; k < k_end; k++) s[k] -= h[k];
      out[t] = (float)spike;
    }
  }
}
