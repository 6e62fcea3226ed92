// The board's own top in simulation, with a bit-level model of the serial port at its pins, in lockstep
// with a host program that speaks over stdin and stdout. Time moves only when the host waits.
//
// Commands, little endian:
//   'W' u32 count, bytes          queue bytes for the board
//   'B' f64 period                from the end of the queue on, a bit lasts so many cycles
//   'A' u64 cycle                 advance until a byte has come or this cycle is reached
//   'P' u32 buttons               set the buttons (bit set: pressed)
//   'Q'                           quit
// 'A' answers: u64 cycle, u32 lights, u32 framing errors, u32 count, bytes. The others do not answer.

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

VerilatedContext context;
Vtop* board;
uint64_t cycle = 0;
int answers;  // file descriptor; prints of the design go to stderr instead

// Bytes to the board: start bit, eight bits from the lowest, stop bit.
class Transmitter {
 public:
  void write(const uint8_t* data, std::size_t count) { queue_.insert(queue_.end(), data, data + count); }

  // Takes effect when everything queued so far has left.
  void set_period(double period) { changes_.push_back({queue_.size(), period}); }

  // Level of the line in this cycle.
  bool level() {
    if (bits_left_ == 0 && !next()) return true;
    const bool value = shift_ & 1;
    if (cycle + 1 >= boundary_) {
      shift_ >>= 1;
      if (--bits_left_ > 0) {
        edge_ += period_;
        boundary_ = static_cast<uint64_t>(edge_ + 0.5);
      }
    }
    return value;
  }

  bool idle() const { return bits_left_ == 0 && queue_.empty() && changes_.empty(); }
  double period() const { return period_; }

 private:
  struct Change {
    std::size_t after;  // bytes still to leave before it
    double period;
  };

  bool next() {
    while (!changes_.empty() && changes_.front().after == 0) {
      period_ = changes_.front().period;
      changes_.pop_front();
    }
    if (queue_.empty()) return false;
    shift_ = queue_.front() << 1 | 0x200;
    queue_.pop_front();
    for (Change& change : changes_) change.after--;
    bits_left_ = 10;
    edge_ = cycle + period_;
    boundary_ = static_cast<uint64_t>(edge_ + 0.5);
    return true;
  }

  std::deque<uint8_t> queue_;
  std::deque<Change> changes_;
  double period_ = DEFAULT_PERIOD;
  double edge_ = 0;
  uint64_t boundary_ = 0;
  unsigned shift_ = 0;
  int bits_left_ = 0;
};

// Bytes from the board, each bit sampled in its middle.
class Receiver {
 public:
  // Returns whether a byte is complete.
  bool look(bool level, double period) {
    if (bit_ < 0) {
      if (level) return false;
      bit_ = 0;
      period_ = period;
      start_ = cycle;
      plan();
      return false;
    }
    if (cycle < sample_) return false;
    if (bit_ < 8) {
      value_ |= level << bit_++;
      plan();
      return false;
    }
    if (!level) errors++;
    received.push_back(value_);
    value_ = 0;
    bit_ = -1;
    last = cycle;
    return true;
  }

  bool busy() const { return bit_ >= 0; }

  std::vector<uint8_t> received;
  uint32_t errors = 0;
  uint64_t last = 0;

 private:
  void plan() { sample_ = start_ + static_cast<uint64_t>((bit_ + 1.5) * period_); }

  int bit_ = -1;
  unsigned value_ = 0;
  double period_ = 1;
  uint64_t start_ = 0, sample_ = 0;
};

Transmitter transmitter;
Receiver receiver;

void advance_cycle() {
  board->rx = transmitter.level();
  board->clk = 1;
  board->eval();
  receiver.look(board->tx, transmitter.period());
  board->clk = 0;
  board->eval();
  cycle++;
}

// A frame is a run of bytes without a pause: the host gets it whole, which saves it round trips.
bool more_is_coming() {
  return receiver.received.size() < 512 &&
         (receiver.busy() || cycle < receiver.last + 4 * transmitter.period() + 4);
}

void advance(uint64_t until) {
  while (cycle < until && receiver.received.empty()) {
    for (int k = 0; k < 64 && cycle < until && receiver.received.empty(); k++) advance_cycle();
    if (context.gotFinish()) {
      std::fprintf(stderr, "the design stopped in cycle %llu\n", static_cast<unsigned long long>(cycle));
      std::exit(3);
    }
  }
  if (receiver.received.empty()) return;
  while (cycle < until && more_is_coming()) advance_cycle();
}

template <typename T>
void append(std::vector<uint8_t>& buffer, T value) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(&value);
  buffer.insert(buffer.end(), bytes, bytes + sizeof value);
}

void answer() {
  std::vector<uint8_t> buffer;
  append<uint64_t>(buffer, cycle);
  append<uint32_t>(buffer, board->lights);
  append<uint32_t>(buffer, receiver.errors);
  append<uint32_t>(buffer, receiver.received.size());
  buffer.insert(buffer.end(), receiver.received.begin(), receiver.received.end());
  receiver.received.clear();
  for (std::size_t done = 0; done < buffer.size();) {
    const ssize_t count = ::write(answers, buffer.data() + done, buffer.size() - done);
    if (count <= 0) std::exit(0);  // the host has gone
    done += count;
  }
}

template <typename T>
T read_value() {
  T value;
  if (std::fread(&value, sizeof value, 1, stdin) != 1) std::exit(0);
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  answers = dup(1);
  dup2(2, 1);
  context.commandArgs(argc, argv);
  board = new Vtop{&context, ""};
  board->rx = 1;
  board->buttons = 0;
  board->clk = 0;
  board->eval();
  for (;;) {
    switch (std::getc(stdin)) {
      case 'W': {
        std::vector<uint8_t> data(read_value<uint32_t>());
        if (!data.empty() && std::fread(data.data(), 1, data.size(), stdin) != data.size()) return 0;
        transmitter.write(data.data(), data.size());
        break;
      }
      case 'B':
        transmitter.set_period(read_value<double>());
        break;
      case 'A':
        advance(read_value<uint64_t>());
        answer();
        break;
      case 'P':
        board->buttons = read_value<uint32_t>();
        break;
      default:  // 'Q', or the host has gone
        board->final();
        return 0;
    }
  }
}
