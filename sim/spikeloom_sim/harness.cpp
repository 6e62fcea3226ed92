// Runs a data set through a NetworkCore: loads its memories (unless fixed) and reads them back,
// streams every sample in, and writes every potential, every logit and the counters to files.
//
// usage: harness FOLDER SAMPLES SEED STALL_IN STALL_OUT BURST STALL_INSIDE
// FOLDER holds image.bin (for each column: address, rows, words; 32 bits each) and samples.bin (one byte
// a word, in the order of the stream, padding included); it gets potentials_<layer>.bin and
// outputs_<layer>.bin (what leaves it), logits.bin (32-bit integers), times.bin (64-bit cycles: first transfer in, last transfer out, of each sample),
// counters.bin (32 bits) and buffers.bin (64 bits: for each buffer the most that was in it, and the
// cycles in which it had no room for what it was offered) and flows.bin (64 bits: for each layer cycles
// in which it took a transfer, was busy, was held up, was starved).
// A stall is the probability, in 1/65536, that transfers are held back for the next BURST cycles;
// STALL_INSIDE, in 1/16, that a stream between two layers holds its next transfer back for a cycle.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "Vtop.h"
#include "core.h"
#include "ports.h"

namespace {

std::string folder;
VerilatedContext context;
Vtop top{&context, ""};
uint64_t cycle = 0;

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "cycle %llu: %s\n", static_cast<unsigned long long>(cycle), message.c_str());
  std::exit(2);
}

std::vector<uint8_t> read_file(const std::string& name) {
  std::FILE* file = std::fopen((folder + "/" + name).c_str(), "rb");
  if (!file) fail("cannot read " + name);
  std::vector<uint8_t> data;
  uint8_t buffer[65536];
  std::size_t count;
  while ((count = std::fread(buffer, 1, sizeof buffer, file)) > 0)
    data.insert(data.end(), buffer, buffer + count);
  std::fclose(file);
  return data;
}

template <typename T>
void write_file(const std::string& name, const std::vector<T>& data) {
  std::FILE* file = std::fopen((folder + "/" + name).c_str(), "wb");
  if (!file || std::fwrite(data.data(), sizeof(T), data.size(), file) != data.size())
    fail("cannot write " + name);
  std::fclose(file);
}

// First half of a cycle: everything that depends on the inputs settles.
void settle() {
  top.clk = 0;
  top.eval();
}

// Second half: the registers take their new values.
void step() {
  top.clk = 1;
  top.eval();
  cycle++;
}

uint32_t random_state = 1;
bool chance(uint32_t probability) {  // in 1/65536; xorshift32
  if (!probability) return false;
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return (random_state >> 16) < probability;
}

// Bits that are set with a probability of sixteenths.
uint32_t random_bits(uint32_t sixteenths) {
  if (sixteenths >= 16) return ~0u;
  uint32_t bits = 0;
  for (int k = 0; k < 4; k++) {
    chance(1);  // the next random number
    bits = (sixteenths >> k & 1) ? bits | random_state : bits & random_state;
  }
  return bits;
}

// Stores the image through the load bus, unless the memories are fixed, then reads every word back,
// one request a cycle.
void load_image() {
  const std::vector<uint8_t> bytes = read_file("image.bin");
  const uint32_t* words = reinterpret_cast<const uint32_t*>(bytes.data());
  const std::size_t count = bytes.size() / 4;
  std::vector<uint32_t> addresses, values;
  for (std::size_t k = 0; k < count;) {
    const uint32_t address = words[k], rows = words[k + 1];
    for (uint32_t row = 0; row < rows; row++) {
      addresses.push_back(address + row);
      values.push_back(words[k + 2 + row]);
    }
    k += 2 + rows;
  }
  top.LOAD(write) = !FIXED;
  for (std::size_t k = 0; !FIXED && k < addresses.size(); k++) {
    top.LOAD(address) = addresses[k];
    top.LOAD(data) = values[k];
    settle();
    step();
  }
  top.LOAD(write) = 0;
  std::size_t asked = 0, answered = 0, idle = 0;
  while (answered < addresses.size()) {
    top.LOAD(read) = asked < addresses.size();
    if (asked < addresses.size()) top.LOAD(address) = addresses[asked++];
    settle();
    if (top.LOAD(read_valid)) {
      if (top.LOAD(read_data) != values[answered])
        fail("address " + std::to_string(addresses[answered]) + " reads back " +
             std::to_string(top.LOAD(read_data)) + ", expected " + std::to_string(values[answered]));
      answered++;
      idle = 0;
    } else if (++idle > 100) {
      fail("no answer to a read of address " + std::to_string(addresses[answered]));
    }
    step();
  }
  top.LOAD(read) = 0;
}

void clear_counters() {
  top.clear_counters = 1;
  settle();
  step();
  top.clear_counters = 0;
}

// A side of the network that pauses: decides anew every so many cycles.
struct Pauses {
  uint32_t probability;
  uint64_t burst, left = 0;
  bool paused = false;

  bool now() {
    if (!left) {
      paused = chance(probability);
      left = burst;
    }
    left--;
    return paused;
  }
};

// 32-bit integers on their way to a file.
struct Record {
  std::FILE* file = nullptr;
  std::vector<int32_t> values;

  void add(int32_t value) {
    values.push_back(value);
    if (values.size() == 1 << 16) flush();
  }
  void flush() {
    if (std::fwrite(values.data(), sizeof(int32_t), values.size(), file) != values.size())
      fail("cannot write what the probes show");
    values.clear();
  }
  void open(const std::string& name) {
    file = std::fopen((folder + "/" + name).c_str(), "wb");
    if (!file) fail("cannot write " + name);
  }
  void close() {
    flush();
    if (std::fclose(file) != 0) fail("cannot write what the probes show");
  }
};

Record potentials[LAYERS], outputs[LAYERS];
std::vector<uint64_t> buffers(2 * BUFFERS);
struct { uint64_t taken, busy, held, starved; } flows[LAYERS];

enum { IN_VALID = 1, IN_READY = 2, SKIP_VALID = 4, SKIP_READY = 8, OUT_VALID = 16, OUT_READY = 32 };

bool both(unsigned flow, unsigned valid) { return (flow & 3 * valid) == 3 * valid; }

// Whether a transfer goes anywhere in this cycle; notes how full the buffers are.
bool watch_flow() {
  bool moves = false;
#define FLOW(layer, port, joins)                                                      \
  {                                                                                   \
    const unsigned flow = top.port;                                                   \
    const bool taken = both(flow, IN_VALID) | both(flow, SKIP_VALID);                 \
    const bool held = (flow & 48) == OUT_VALID;                                       \
    const bool alone = joins && !(flow & SKIP_VALID); /* waits for what joins it */   \
    moves |= taken | both(flow, OUT_VALID);                                           \
    flows[layer].taken += taken;                                                      \
    flows[layer].busy += (flow & 3) == IN_VALID && !held && !alone;                   \
    flows[layer].held += held;                                                        \
    flows[layer].starved += (flow & 3) == IN_READY;                                   \
  }
  FLOWS(FLOW)
#define LEVEL(index, name, depth, level, stalled)                  \
  if (top.level > buffers[2 * index]) buffers[2 * index] = top.level; \
  buffers[2 * index + 1] += top.stalled;
  FIFOS(LEVEL)
  return moves;
}

// Why nothing moves: buffers that are too small, or else the last layer that takes or gives nothing.
std::string culprit() {
  std::string full, layer;
#define FULL(index, name, depth, level, stalled) \
  if (top.stalled) full += std::string(full.empty() ? "" : ", ") + name + " of depth " #depth;
  FIFOS(FULL)
  if (!full.empty()) return full + " full and blocked";
#define STUCK(number, port, joins)                                               \
  {                                                                       \
    const unsigned flow = top.port;                                       \
    const bool offered = (flow & 3) == IN_VALID || (flow & 12) == SKIP_VALID; \
    if (offered && !(flow & OUT_VALID)) layer = "layer " #number " takes and gives nothing"; \
  }
  FLOWS(STUCK)
  if (!layer.empty()) return layer;
#define WAITING(number, port, joins) \
  if (layer.empty() && !(top.port & OUT_VALID)) layer = "layer " #number " gives nothing";
  FLOWS(WAITING)
  return layer;
}

void watch_probes() {
  uint32_t words[PROBE_WORDS];
#define WATCH(layer, valid, port, lanes, bits) \
  if (top.valid) {                             \
    get(top.port, words);                      \
    for (unsigned k = 0; k < lanes; k++) potentials[layer].add(signed_field(words, k * bits, bits)); \
  }
  PROBES(WATCH)
#define SHOW(layer, valid, port, lanes, bits, field) \
  if (top.valid) {                                   \
    get(top.port, words);                            \
    for (unsigned k = 0; k < lanes; k++) outputs[layer].add(field(words, k * bits, bits)); \
  }
  OUTPUTS(SHOW)
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 8) return 1;
  folder = argv[1];
  context.commandArgs(argc, argv);
  const std::size_t samples = std::strtoull(argv[2], nullptr, 10);
  random_state = static_cast<uint32_t>(std::strtoul(argv[3], nullptr, 10)) | 1;
  const uint64_t burst = std::strtoull(argv[6], nullptr, 10);
  Pauses producer{static_cast<uint32_t>(std::strtoul(argv[4], nullptr, 10)), burst};
  Pauses consumer{static_cast<uint32_t>(std::strtoul(argv[5], nullptr, 10)), burst};
  const uint32_t inside = static_cast<uint32_t>(std::strtoul(argv[7], nullptr, 10));
  for (int layer = 0; layer < LAYERS; layer++) {
    potentials[layer].open("potentials_" + std::to_string(layer) + ".bin");
    outputs[layer].open("outputs_" + std::to_string(layer) + ".bin");
  }

  top.rst = 1;
  for (int k = 0; k < 4; k++) {
    settle();
    step();
  }
  top.rst = 0;
  for (settle(); top.busy; settle()) step();
  load_image();
  clear_counters();
  const std::vector<uint8_t> input = read_file("samples.bin");
  if (input.size() != samples * INPUTS) fail("samples.bin has the wrong size");

  std::vector<int32_t> logits;
  logits.reserve(samples * OUT_TRANSFERS * OUT_LANES);
  std::vector<uint64_t> times(2 * samples);
  std::size_t sample = 0, beat = 0, transfer = 0;  // transfer: of results, over all samples
  const std::size_t transfers = samples * OUT_TRANSFERS;
  bool offered = false, waited = false;
  uint32_t payload[IN_WORDS], out[OUT_WORDS], held[OUT_WORDS];
  uint64_t quiet = 0, drain = 0, finished = 0;
  const uint64_t started = cycle;
  // what no result looks at may still be under way after the last one
  while (transfer < transfers || drain < 256 || quiet < QUIET_LIMIT) {
    const bool withheld = producer.now();
    if (!offered && sample < samples && !withheld) {
      std::memset(payload, 0, sizeof payload);
      for (unsigned k = 0; k < SCAN; k++)
        set_field(payload, k * IN_BITS, input[sample * INPUTS + beat * SCAN + k]);
      set_field(payload, SCAN * IN_BITS, beat == 0);
      set_field(payload, SCAN * IN_BITS + 1, beat == BEATS - 1);
      put(top.INPUT(payload), payload);
      offered = true;
    }
    top.INPUT(valid) = offered;
    const bool ready = !consumer.now();
    top.OUTPUT(ready) = ready;
    if (inside) top.pause = random_bits(inside);
    settle();
    // a side that pauses is no reason for concern
    const bool paused = (sample < samples && !offered) || (top.OUTPUT(valid) && !ready);
    if (watch_flow() || paused) quiet = 0;
    quiet++;
    if (offered && top.INPUT(ready)) {
      if (beat == 0) times[2 * sample] = cycle;
      if (++beat == BEATS) {
        beat = 0;
        sample++;
      }
      offered = false;
    }
    if (top.OUTPUT(valid)) {
      get(top.OUTPUT(payload), out);
      if (waited && std::memcmp(out, held, sizeof out) != 0) fail("a waiting result changed");
      std::memcpy(held, out, sizeof out);
      waited = !ready;
      if (ready) {
        if (transfer == transfers) fail("a result that no sample asked for");
        const std::size_t row = transfer % OUT_TRANSFERS;
        const unsigned end = OUT_LANES * OUT_BITS;
        const bool first = out[end / 32] >> (end % 32) & 1;
        const bool last = out[(end + 1) / 32] >> ((end + 1) % 32) & 1;
        if (first != (row == 0) || last != (row == OUT_TRANSFERS - 1)) fail("first or last is wrong");
        for (unsigned k = 0; k < OUT_LANES; k++)
          logits.push_back(signed_field(out, k * OUT_BITS, OUT_BITS));
        times[2 * (transfer / OUT_TRANSFERS) + 1] = cycle;
        transfer++;
      }
    } else if (waited) {
      fail("a waiting result was withdrawn");
    }
    watch_probes();
    if (quiet > QUIET_LIMIT && transfer < transfers)
      fail("nothing moves any more, " + std::to_string(sample) + " samples in, " +
           std::to_string(transfer / OUT_TRANSFERS) + " out: " + culprit());
    if (transfer == transfers && ++drain == 256) finished = cycle + 1;
    step();
  }
  settle();
  if (top.busy) fail("still busy after the last result");
  uint32_t counters[COUNTERS];
  get(top.counters, counters);
  for (int layer = 0; layer < LAYERS; layer++) {
    potentials[layer].close();
    outputs[layer].close();
  }
  write_file("logits.bin", logits);
  for (uint64_t& time : times) time -= started;
  write_file("times.bin", times);
  write_file("buffers.bin", buffers);
  const uint64_t* cycles = &flows[0].taken;
  write_file("flows.bin", std::vector<uint64_t>(cycles, cycles + 4 * LAYERS));
  write_file("counters.bin", std::vector<uint32_t>(counters, counters + COUNTERS));
  std::printf("%llu %llu\n", static_cast<unsigned long long>(finished - started),
              static_cast<unsigned long long>(cycle));
  return 0;
}
