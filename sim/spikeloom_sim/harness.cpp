// Runs a data set through a NetworkCore: loads its memories through the load bus and reads them back,
// streams every sample in, and writes every potential, every logit and the counters to files.
//
// usage: harness FOLDER SAMPLES SEED STALL_IN STALL_OUT
// FOLDER holds image.bin (for each column: address, rows, words; 32 bits each) and samples.bin (one byte
// a word); it gets potentials_<layer>.bin, logits.bin (32-bit integers), times.bin (64-bit cycles:
// first transfer in, last transfer out, of each sample) and counters.bin (32 bits).
// A stall is the probability, in 1/65536, that a transfer is held back for a cycle.

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

// Stores the image through the load bus, then reads every word back, one request a cycle.
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
  top.LOAD(write) = 1;
  for (std::size_t k = 0; k < addresses.size(); k++) {
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
             std::to_string(top.LOAD(read_data)) + ", written " + std::to_string(values[answered]));
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

std::vector<int32_t> potentials[LAYERS];

void watch_probes() {
  uint32_t words[PROBE_WORDS];
#define WATCH(layer, valid, port, lanes, bits) \
  if (top.valid) {                             \
    get(top.port, words);                      \
    for (unsigned k = 0; k < lanes; k++) potentials[layer].push_back(signed_field(words, k * bits, bits)); \
  }
  PROBES(WATCH)
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 1;
  folder = argv[1];
  context.commandArgs(argc, argv);
  const std::size_t samples = std::strtoull(argv[2], nullptr, 10);
  random_state = static_cast<uint32_t>(std::strtoul(argv[3], nullptr, 10)) | 1;
  const uint32_t stall_in = std::strtoul(argv[4], nullptr, 10);
  const uint32_t stall_out = std::strtoul(argv[5], nullptr, 10);

  top.rst = 1;
  for (int k = 0; k < 4; k++) {
    settle();
    step();
  }
  top.rst = 0;
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
  uint64_t quiet = 0, drain = 0;
  const uint64_t started = cycle;
  while (transfer < transfers || drain < 256) {
    if (!offered && sample < samples && !chance(stall_in)) {
      std::memset(payload, 0, sizeof payload);
      for (unsigned k = 0; k < SCAN && beat * SCAN + k < INPUTS; k++)
        set_field(payload, k * IN_BITS, input[sample * INPUTS + beat * SCAN + k]);
      set_field(payload, SCAN * IN_BITS, beat == 0);
      set_field(payload, SCAN * IN_BITS + 1, beat == BEATS - 1);
      put(top.INPUT(payload), payload);
      offered = true;
    }
    top.INPUT(valid) = offered;
    const bool ready = !chance(stall_out);
    top.OUTPUT(ready) = ready;
    settle();
    quiet++;
    if (offered && top.INPUT(ready)) {
      if (beat == 0) times[2 * sample] = cycle;
      if (++beat == BEATS) {
        beat = 0;
        sample++;
      }
      offered = false;
      quiet = 0;
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
        quiet = 0;
      }
    } else if (waited) {
      fail("a waiting result was withdrawn");
    }
    watch_probes();
    if (quiet > QUIET_LIMIT && transfer < transfers)
      fail("nothing moves any more: " + std::to_string(sample) + " samples in, " +
           std::to_string(transfer / OUT_TRANSFERS) + " out");
    if (transfer == transfers) drain++;
    step();
  }
  settle();
  if (top.busy) fail("still busy after the last result");
  uint32_t counters[COUNTERS];
  get(top.counters, counters);
  for (int layer = 0; layer < LAYERS; layer++)
    write_file("potentials_" + std::to_string(layer) + ".bin", potentials[layer]);
  write_file("logits.bin", logits);
  for (uint64_t& time : times) time -= started;
  write_file("times.bin", times);
  write_file("counters.bin", std::vector<uint32_t>(counters, counters + COUNTERS));
  std::printf("%llu %llu\n", static_cast<unsigned long long>(cycle - started),
              static_cast<unsigned long long>(cycle));
  return 0;
}
