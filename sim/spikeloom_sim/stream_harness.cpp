// Runs payloads through a core with an input stream, an output stream and streams that configure it.
//
// usage: top FOLDER VARIANT INPUTS WRITES EXPECTED QUIET PATIENCE SEED STALL_IN STALL_OUT STALL_WRITE
// FOLDER holds i.bin (INPUTS payloads) and w.bin (WRITES entries: index of the input before which it
// happens, number of the configuring stream, payload), all of 32-bit words, low words first; it gets
// o.bin (payloads out), taken.bin and given.bin (64-bit cycles of the transfers in and out).
// EXPECTED outputs (-1: any number), then QUIET cycles without one, end a run. PATIENCE: cycles without a
// transfer after which the core is stuck. A stall is a probability in 1/65536.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "Vtop.h"
#include "ports.h"

namespace {

std::string folder;
uint64_t cycle = 0;

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "cycle %llu: %s\n", static_cast<unsigned long long>(cycle), message.c_str());
  std::exit(2);
}

std::vector<uint32_t> read_file(const std::string& name, std::size_t words) {
  std::vector<uint32_t> data(words);
  std::FILE* file = std::fopen((folder + "/" + name).c_str(), "rb");
  if (!file || std::fread(data.data(), 4, words, file) != words) fail("cannot read " + name);
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

uint32_t random_state = 1;
uint32_t draw() {  // xorshift32
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}
bool chance(uint32_t probability) { return probability && (draw() >> 16) < probability; }

struct Job {
  std::size_t inputs, writes;
  long long expected;
  uint64_t quiet, patience;
  uint32_t stall_in, stall_out, stall_write;
};

// Core: its ports, see _header in stream_harness.py.
template <typename Core>
int run(Vtop& top, const Job& job) {
  constexpr unsigned in_words = Core::in_words, out_words = Core::out_words;
  constexpr unsigned entry_words = 2 + Core::write_words;
  const std::vector<uint32_t> inputs = read_file("i.bin", job.inputs * in_words);
  const std::vector<uint32_t> writes = read_file("w.bin", job.writes * entry_words);
  std::vector<uint32_t> outputs;
  std::vector<uint64_t> taken(job.inputs), given;
  const auto settle = [&] { top.eval(); };
  const auto step = [&] {
    Core::clk(top, 1);
    top.eval();
    Core::clk(top, 0);
    cycle++;
  };

  // the model began with random values everywhere
  Core::clk(top, 0);
  Core::i_valid(top, 0);
  Core::o_ready(top, 0);
  for (unsigned stream = 0; stream < Core::write_streams; stream++) Core::write_valid(top, stream, 0);
  Core::rst(top, 1);
  for (int k = 0; k < 4; k++) {
    settle();
    step();
  }
  Core::rst(top, 0);
  cycle = 0;

  std::size_t in = 0, done = 0;
  bool offered = false, writing = false, waited = false;
  uint32_t out[out_words], held[out_words], again[out_words];
  uint64_t still = 0, silent = 0;
  const std::size_t goal = job.expected < 0 ? 0 : job.expected;
  const auto count = [&] { return given.size(); };
  const auto progress = [&] {
    std::string text = std::to_string(in) + " of " + std::to_string(job.inputs) + " inputs in, " +
                       std::to_string(count());
    if (job.expected >= 0) text += " of " + std::to_string(goal);
    text += " outputs out";
    if (job.writes)
      text += ", " + std::to_string(done) + " of " + std::to_string(job.writes) + " writes done";
    return text;
  };
  while (true) {
    const bool finished = in == job.inputs && done == job.writes;
    if (finished && (job.expected < 0 || count() >= goal) && silent >= job.quiet) break;
    const uint32_t* write = done < job.writes ? &writes[done * entry_words] : nullptr;
    const bool due = write && write[0] <= in;
    if (due && !writing && !chance(job.stall_write)) {
      Core::put_write(top, write[1], write + 2);
      Core::write_valid(top, write[1], 1);
      writing = true;
    }
    // an input may be offered beside the last write that it waits for: the write comes first
    const bool next_due = done + 1 < job.writes && writes[(done + 1) * entry_words] <= in;
    const bool may = !due || (writing && !next_due);
    if (!offered && in < job.inputs && may && !chance(job.stall_in)) {
      Core::put_i(top, &inputs[in * in_words]);
      offered = true;
    }
    Core::i_valid(top, offered);
    const bool ready = !chance(job.stall_out);
    if (!(draw() & 0xF0000)) {  // valid and payload must not depend on ready: look with the other
      Core::o_ready(top, !ready);
      settle();
      const bool valid = Core::o_valid(top);
      Core::get_o(top, again);
      Core::o_ready(top, ready);
      settle();
      if (valid != Core::o_valid(top)) fail("o.valid depends on o.ready");
      Core::get_o(top, out);
      if (valid && std::memcmp(out, again, sizeof out) != 0) fail("o.payload depends on o.ready");
    } else {
      Core::o_ready(top, ready);
      settle();
    }
    still++;
    silent++;
    const bool written = writing && Core::write_ready(top, write[1]);
    if (offered && Core::i_ready(top)) {
      if (written) fail("input " + std::to_string(in) + " was taken beside a write");
      if (due) fail("input " + std::to_string(in) + " was taken before a write that waited");
      taken[in++] = cycle;
      offered = false;
      still = silent = 0;
    }
    if (Core::o_valid(top)) {
      Core::get_o(top, out);
      if (waited && std::memcmp(out, held, sizeof out) != 0) fail("a waiting output changed");
      std::memcpy(held, out, sizeof out);
      waited = !ready;
      silent = 0;
      if (ready) {
        if (job.expected >= 0 && count() == goal)
          fail("an output after the expected " + std::to_string(goal));
        outputs.insert(outputs.end(), out, out + out_words);
        given.push_back(cycle);
        still = 0;
      }
    } else if (waited) {
      fail("a waiting output was withdrawn");
    }
    if (written) still = silent = 0;
    if (still > job.patience) {
      std::string what = "for o.valid";
      if (offered && !writing) what = "for i.ready";
      if (writing) what = "for ready of a write";
      if (waited) what = "at o, which holds a transfer";
      if (in < job.inputs || done < job.writes || job.expected >= 0)
        fail("nothing moves for " + std::to_string(job.patience) + " cycles, waiting " + what + ": " +
             progress());
    }
    step();
    if (written) {
      Core::write_valid(top, write[1], 0);
      writing = false;
      done++;
    }
  }
  write_file("o.bin", outputs);
  write_file("taken.bin", taken);
  write_file("given.bin", given);
  return 0;
}

}  // namespace

#include "cores.h"

int main(int argc, char** argv) {
  if (argc < 12) return 1;
  folder = argv[1];
  VerilatedContext context;
  context.commandArgs(argc, argv);  // before the model is made: it says what memories hold
  Vtop top{&context, ""};
  const auto number = [&](int k) { return std::strtoull(argv[k], nullptr, 10); };
  Job job;
  job.inputs = number(3);
  job.writes = number(4);
  job.expected = std::strtoll(argv[5], nullptr, 10);
  job.quiet = number(6);
  job.patience = number(7);
  random_state = static_cast<uint32_t>(number(8)) * 2 + 1;
  job.stall_in = number(9);
  job.stall_out = number(10);
  job.stall_write = number(11);
  return dispatch(number(2), top, job);
}
