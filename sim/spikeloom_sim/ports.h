// Ports of a Verilated model, whatever their width, as arrays of 32-bit words, low words first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "verilated.h"

template <std::size_t N>
inline void put(VlWide<N>& port, const uint32_t* words) {
  for (std::size_t k = 0; k < N; k++) port[k] = words[k];
}
inline void put(CData& port, const uint32_t* words) { port = static_cast<CData>(words[0]); }
inline void put(SData& port, const uint32_t* words) { port = static_cast<SData>(words[0]); }
inline void put(IData& port, const uint32_t* words) { port = words[0]; }
inline void put(QData& port, const uint32_t* words) {
  port = words[0] | static_cast<QData>(words[1]) << 32;
}

template <std::size_t N>
inline void get(const VlWide<N>& port, uint32_t* words) {
  for (std::size_t k = 0; k < N; k++) words[k] = port[k];
}
inline void get(const CData& port, uint32_t* words) { words[0] = port; }
inline void get(const SData& port, uint32_t* words) { words[0] = port; }
inline void get(const IData& port, uint32_t* words) { words[0] = port; }
inline void get(const QData& port, uint32_t* words) {
  words[0] = static_cast<uint32_t>(port);
  words[1] = static_cast<uint32_t>(port >> 32);
}

// Insert a field of at most 32 bits into zeroed words.
inline void set_field(uint32_t* words, unsigned offset, uint32_t value) {
  const unsigned shift = offset % 32;
  const uint64_t wide = static_cast<uint64_t>(value) << shift;
  words[offset / 32] |= static_cast<uint32_t>(wide);
  if (wide >> 32) words[offset / 32 + 1] |= static_cast<uint32_t>(wide >> 32);
}

// Extract an unsigned field of less than 32 bits, likewise.
inline int32_t unsigned_field(const uint32_t* words, unsigned offset, unsigned bits) {
  const unsigned shift = offset % 32;
  uint64_t wide = words[offset / 32];
  if (shift + bits > 32) wide |= static_cast<uint64_t>(words[offset / 32 + 1]) << 32;
  return static_cast<int32_t>(static_cast<uint32_t>(wide >> shift) & ((1u << bits) - 1));
}

// Extract a signed field of at most 32 bits; reads no word that the field does not touch.
inline int32_t signed_field(const uint32_t* words, unsigned offset, unsigned bits) {
  const unsigned shift = offset % 32;
  uint64_t wide = words[offset / 32];
  if (shift + bits > 32) wide |= static_cast<uint64_t>(words[offset / 32 + 1]) << 32;
  const uint32_t value = static_cast<uint32_t>(wide >> shift);
  return static_cast<int32_t>(value << (32 - bits)) >> (32 - bits);
}
