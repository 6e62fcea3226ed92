// Two-state simulation models of the Lattice iCE40 UltraPlus cells that Spikeloom's designs use, before
// and after synthesis. Behaviour from the vendor's public documents.

`ifndef INPUT_HZ
`define INPUT_HZ 0
`endif
`ifndef LOCK_CYCLES
`define LOCK_CYCLES 16
`endif

// --- pads and clocks ---------------------------------------------------------------------------------

// PIN_TYPE[1:0]: 01 plain input, 00 registered. PIN_TYPE[5:2]: 0000 no output, 0110 plain output,
// 0101 registered output, 1010 output with enable. The other kinds (latches, DDR) are refused.
module SB_IO(
  inout PACKAGE_PIN,
  input LATCH_INPUT_VALUE, CLOCK_ENABLE, INPUT_CLK, OUTPUT_CLK, OUTPUT_ENABLE, D_OUT_0, D_OUT_1,
  output D_IN_0, D_IN_1
);
  parameter [5:0] PIN_TYPE = 6'b000000;
  parameter [0:0] PULLUP = 1'b0;
  parameter [0:0] NEG_TRIGGER = 1'b0;
  parameter IO_STANDARD = "SB_LVCMOS";
  generate
    if (PIN_TYPE[5:2] == 4'b0110) begin : plain
      assign PACKAGE_PIN = D_OUT_0;
    end else if (PIN_TYPE[5:2] == 4'b0101) begin : registered
      reg held = 1'b0;
      always @(posedge OUTPUT_CLK) held <= D_OUT_0;
      assign PACKAGE_PIN = held;
    end else if (PIN_TYPE[5:2] == 4'b1010) begin : enabled
      assign PACKAGE_PIN = OUTPUT_ENABLE ? D_OUT_0 : 1'bz;
    end else if (PIN_TYPE[5:2] != 4'b0000) begin : unknown
      initial $fatal(1, "SB_IO: this model has no output of kind %b", PIN_TYPE[5:2]);
    end
    if (PIN_TYPE[1:0] == 2'b00) begin : input_register
      reg seen = 1'b0;
      always @(posedge INPUT_CLK) seen <= PACKAGE_PIN;
      assign D_IN_0 = seen;
    end else if (PIN_TYPE[1:0] == 2'b01) begin : input_wire
      assign D_IN_0 = PACKAGE_PIN;
    end else begin : input_unknown
      initial $fatal(1, "SB_IO: this model has no latched input");
      assign D_IN_0 = 1'b0;
    end
  endgenerate
  assign D_IN_1 = 1'b0;
endmodule

module SB_GB_IO(
  inout PACKAGE_PIN,
  input LATCH_INPUT_VALUE, CLOCK_ENABLE, INPUT_CLK, OUTPUT_CLK, OUTPUT_ENABLE, D_OUT_0, D_OUT_1,
  output D_IN_0, D_IN_1, GLOBAL_BUFFER_OUTPUT
);
  parameter [5:0] PIN_TYPE = 6'b000000;
  parameter [0:0] PULLUP = 1'b0;
  parameter [0:0] NEG_TRIGGER = 1'b0;
  parameter IO_STANDARD = "SB_LVCMOS";
  assign GLOBAL_BUFFER_OUTPUT = PACKAGE_PIN;
  SB_IO #(.PIN_TYPE(PIN_TYPE)) pad(
    .PACKAGE_PIN(PACKAGE_PIN), .LATCH_INPUT_VALUE(LATCH_INPUT_VALUE), .CLOCK_ENABLE(CLOCK_ENABLE),
    .INPUT_CLK(INPUT_CLK), .OUTPUT_CLK(OUTPUT_CLK), .OUTPUT_ENABLE(OUTPUT_ENABLE),
    .D_OUT_0(D_OUT_0), .D_OUT_1(D_OUT_1), .D_IN_0(D_IN_0), .D_IN_1(D_IN_1));
endmodule

module SB_GB(input USER_SIGNAL_TO_GLOBAL_BUFFER, output GLOBAL_BUFFER_OUTPUT);
  assign GLOBAL_BUFFER_OUTPUT = USER_SIGNAL_TO_GLOBAL_BUFFER;
endmodule

// Passes the clock on: one simulated cycle is one cycle of the output, whatever the ratio. Checks that
// the dividers are legal for the input frequency (INPUT_HZ, when it is defined), and locks late.
module spikeloom_ice40_pll #(parameter integer DIVR = 0, parameter integer DIVF = 0,
                             parameter integer DIVQ = 0, parameter PATH = "SIMPLE")
  (input clock_in, input resetb, input bypass, output clock_out, output lock);
  localparam real DETECTOR = `INPUT_HZ * 1.0 / (DIVR + 1);
  localparam real OSCILLATOR = DETECTOR * (DIVF + 1);
  localparam real OUTPUT = OSCILLATOR / (1 << DIVQ);
  initial begin
    if (PATH != "SIMPLE") $fatal(1, "SB_PLL40: this model knows FEEDBACK_PATH SIMPLE only");
    if (DIVQ < 1 || DIVQ > 6) $fatal(1, "SB_PLL40: DIVQ %0d is outside 1..6", DIVQ);
    if (`INPUT_HZ != 0) begin
      if (`INPUT_HZ < 10_000_000 || `INPUT_HZ > 133_000_000)
        $fatal(1, "SB_PLL40: input of %0d Hz is outside 10..133 MHz", `INPUT_HZ);
      if (DETECTOR < 10.0e6 || DETECTOR > 133.0e6)
        $fatal(1, "SB_PLL40: phase detector at %0g Hz is outside 10..133 MHz", DETECTOR);
      if (OSCILLATOR < 533.0e6 || OSCILLATOR > 1066.0e6)
        $fatal(1, "SB_PLL40: oscillator at %0g Hz is outside 533..1066 MHz", OSCILLATOR);
      if (OUTPUT < 16.0e6 || OUTPUT > 275.0e6)
        $fatal(1, "SB_PLL40: output of %0g Hz is outside 16..275 MHz", OUTPUT);
    end
  end
  integer cycles = 0;
  reg locked = 1'b0;
  always @(posedge clock_in) begin
    if (!resetb) begin
      cycles <= 0;
      locked <= 1'b0;
    end else if (!locked) begin
      cycles <= cycles + 1;
      locked <= cycles >= `LOCK_CYCLES;
    end
  end
  assign clock_out = clock_in;
  assign lock = locked;
endmodule

module SB_PLL40_CORE(
  input REFERENCECLK, output PLLOUTCORE, output PLLOUTGLOBAL, input EXTFEEDBACK,
  input [7:0] DYNAMICDELAY, output LOCK, input BYPASS, input RESETB, input LATCHINPUTVALUE,
  output SDO, input SDI, input SCLK
);
  parameter FEEDBACK_PATH = "SIMPLE";
  parameter DELAY_ADJUSTMENT_MODE_FEEDBACK = "FIXED";
  parameter DELAY_ADJUSTMENT_MODE_RELATIVE = "FIXED";
  parameter SHIFTREG_DIV_MODE = 1'b0;
  parameter FDA_FEEDBACK = 4'b0000;
  parameter FDA_RELATIVE = 4'b0000;
  parameter PLLOUT_SELECT = "GENCLK";
  parameter DIVR = 4'b0000;
  parameter DIVF = 7'b0000000;
  parameter DIVQ = 3'b000;
  parameter FILTER_RANGE = 3'b000;
  parameter ENABLE_ICEGATE = 1'b0;
  parameter TEST_MODE = 1'b0;
  parameter EXTERNAL_DIVIDE_FACTOR = 1;
  spikeloom_ice40_pll #(DIVR, DIVF, DIVQ, FEEDBACK_PATH) pll(
    REFERENCECLK, RESETB, BYPASS, PLLOUTCORE, LOCK);
  assign PLLOUTGLOBAL = PLLOUTCORE;
  assign SDO = 1'b0;
endmodule

module SB_PLL40_PAD(
  input PACKAGEPIN, output PLLOUTCORE, output PLLOUTGLOBAL, input EXTFEEDBACK,
  input [7:0] DYNAMICDELAY, output LOCK, input BYPASS, input RESETB, input LATCHINPUTVALUE,
  output SDO, input SDI, input SCLK
);
  parameter FEEDBACK_PATH = "SIMPLE";
  parameter DELAY_ADJUSTMENT_MODE_FEEDBACK = "FIXED";
  parameter DELAY_ADJUSTMENT_MODE_RELATIVE = "FIXED";
  parameter SHIFTREG_DIV_MODE = 1'b0;
  parameter FDA_FEEDBACK = 4'b0000;
  parameter FDA_RELATIVE = 4'b0000;
  parameter PLLOUT_SELECT = "GENCLK";
  parameter DIVR = 4'b0000;
  parameter DIVF = 7'b0000000;
  parameter DIVQ = 3'b000;
  parameter FILTER_RANGE = 3'b000;
  parameter ENABLE_ICEGATE = 1'b0;
  parameter TEST_MODE = 1'b0;
  parameter EXTERNAL_DIVIDE_FACTOR = 1;
  spikeloom_ice40_pll #(DIVR, DIVF, DIVQ, FEEDBACK_PATH) pll(
    PACKAGEPIN, RESETB, BYPASS, PLLOUTCORE, LOCK);
  assign PLLOUTGLOBAL = PLLOUTCORE;
  assign SDO = 1'b0;
endmodule

// --- logic -------------------------------------------------------------------------------------------

module SB_LUT4(output O, input I0, input I1, input I2, input I3);
  parameter [15:0] LUT_INIT = 16'h0000;
  assign O = LUT_INIT[{I3, I2, I1, I0}];
endmodule

module SB_CARRY(output CO, input I0, input I1, input CI);
  assign CO = (I0 & I1) | (CI & (I0 ^ I1));
endmodule

// The flip-flops differ in clock edge, enable, and the kind of set or reset. A synchronous set or
// reset of a flip-flop with enable acts only while enabled; an asynchronous one always.
`define SPIKELOOM_DFF(NAME, EDGE) \
  module SB_DFF``NAME(output reg Q, input C, input D); \
    initial Q = 1'b0; \
    always @(EDGE C) Q <= D; \
  endmodule \
  module SB_DFF``NAME``E(output reg Q, input C, input E, input D); \
    initial Q = 1'b0; \
    always @(EDGE C) if (E) Q <= D; \
  endmodule
`define SPIKELOOM_DFF_SYNC(NAME, EDGE, PIN, VALUE) \
  module SB_DFF``NAME``S``PIN(output reg Q, input C, input PIN, input D); \
    initial Q = 1'b0; \
    always @(EDGE C) Q <= PIN ? VALUE : D; \
  endmodule \
  module SB_DFF``NAME``ES``PIN(output reg Q, input C, input E, input PIN, input D); \
    initial Q = 1'b0; \
    always @(EDGE C) if (E) Q <= PIN ? VALUE : D; \
  endmodule
`define SPIKELOOM_DFF_ASYNC(NAME, EDGE, PIN, VALUE) \
  module SB_DFF``NAME``PIN(output reg Q, input C, input PIN, input D); \
    initial Q = 1'b0; \
    always @(EDGE C or posedge PIN) if (PIN) Q <= VALUE; else Q <= D; \
  endmodule \
  module SB_DFF``NAME``E``PIN(output reg Q, input C, input E, input PIN, input D); \
    initial Q = 1'b0; \
    always @(EDGE C or posedge PIN) if (PIN) Q <= VALUE; else if (E) Q <= D; \
  endmodule

`SPIKELOOM_DFF(, posedge)
`SPIKELOOM_DFF(N, negedge)
`SPIKELOOM_DFF_SYNC(, posedge, R, 1'b0)
`SPIKELOOM_DFF_SYNC(, posedge, S, 1'b1)
`SPIKELOOM_DFF_SYNC(N, negedge, R, 1'b0)
`SPIKELOOM_DFF_SYNC(N, negedge, S, 1'b1)
`SPIKELOOM_DFF_ASYNC(, posedge, R, 1'b0)
`SPIKELOOM_DFF_ASYNC(, posedge, S, 1'b1)
`SPIKELOOM_DFF_ASYNC(N, negedge, R, 1'b0)
`SPIKELOOM_DFF_ASYNC(N, negedge, S, 1'b1)

// --- memories ----------------------------------------------------------------------------------------

// 4 kbit, one write and one read port. Modes 0..3: 256x16, 512x8, 1024x4, 2048x2. In the narrow modes
// the upper address bits choose one of 2, 4 or 8 interleaved bit columns of the 16-bit row, and a word
// of data sits on every second, fourth or eighth line.
module spikeloom_ice40_ram #(
  parameter integer WRITE_MODE = 0, parameter integer READ_MODE = 0, parameter [4095:0] INIT = 4096'd0,
  parameter READ_EDGE = 1, parameter WRITE_EDGE = 1
) (
  output [15:0] RDATA, input RCLK, RCLKE, RE, input [10:0] RADDR,
  input WCLK, WCLKE, WE, input [10:0] WADDR, input [15:0] MASK, input [15:0] WDATA
);
  reg [15:0] memory [0:255];
  integer k;
  initial for (k = 0; k < 256; k = k + 1) memory[k] = INIT[k*16 +: 16];

  // bit k of the row belongs to column k mod 2^MODE; the data of a group of 2^MODE bits is on one line
  wire [15:0] data, enable;
  reg [15:0] row = 16'd0;
  reg [2:0] column = 3'd0;
  genvar g;
  generate
    for (g = 0; g < 16; g = g + 1) begin : write_bit
      localparam integer GROUP = 1 << WRITE_MODE;
      localparam integer LINE = WRITE_MODE == 0 ? g : (g / GROUP) * GROUP + GROUP / 2 - 1;
      assign data[g] = WDATA[LINE];
      assign enable[g] = WRITE_MODE == 0 ? ~MASK[g] : ((WADDR >> 8) & (GROUP - 1)) == g % GROUP;
    end
    for (g = 0; g < 16; g = g + 1) begin : read_bit
      localparam integer GROUP = 1 << READ_MODE;
      localparam integer LINE = READ_MODE == 0 ? g : (g / GROUP) * GROUP + GROUP / 2 - 1;
      if (LINE == g) assign RDATA[g] = row[(g / GROUP) * GROUP + (column & (GROUP - 1))];
      else assign RDATA[g] = 1'b0;
    end
  endgenerate

  wire read_clock = READ_EDGE ? RCLK : ~RCLK;
  wire write_clock = WRITE_EDGE ? WCLK : ~WCLK;
  always @(posedge read_clock)
    if (RE && RCLKE) begin
      row <= memory[RADDR[7:0]];
      column <= RADDR[10:8];
    end
  always @(posedge write_clock)
    if (WE && WCLKE)
      memory[WADDR[7:0]] <= (memory[WADDR[7:0]] & ~enable) | (data & enable);
endmodule

`define SPIKELOOM_RAM(NAME, RCLK_PIN, WCLK_PIN, READ_EDGE_, WRITE_EDGE_) \
  module NAME( \
    output [15:0] RDATA, input RCLK_PIN, RCLKE, RE, input [10:0] RADDR, \
    input WCLK_PIN, WCLKE, WE, input [10:0] WADDR, input [15:0] MASK, input [15:0] WDATA); \
    parameter WRITE_MODE = 0; \
    parameter READ_MODE = 0; \
    parameter [255:0] INIT_0 = 256'd0, INIT_1 = 256'd0, INIT_2 = 256'd0, INIT_3 = 256'd0; \
    parameter [255:0] INIT_4 = 256'd0, INIT_5 = 256'd0, INIT_6 = 256'd0, INIT_7 = 256'd0; \
    parameter [255:0] INIT_8 = 256'd0, INIT_9 = 256'd0, INIT_A = 256'd0, INIT_B = 256'd0; \
    parameter [255:0] INIT_C = 256'd0, INIT_D = 256'd0, INIT_E = 256'd0, INIT_F = 256'd0; \
    parameter INIT_FILE = ""; \
    spikeloom_ice40_ram #( \
      .WRITE_MODE(WRITE_MODE), .READ_MODE(READ_MODE), .READ_EDGE(READ_EDGE_), .WRITE_EDGE(WRITE_EDGE_), \
      .INIT({INIT_F, INIT_E, INIT_D, INIT_C, INIT_B, INIT_A, INIT_9, INIT_8, \
             INIT_7, INIT_6, INIT_5, INIT_4, INIT_3, INIT_2, INIT_1, INIT_0}) \
    ) ram(.RDATA(RDATA), .RCLK(RCLK_PIN), .RCLKE(RCLKE), .RE(RE), .RADDR(RADDR), .WCLK(WCLK_PIN), \
          .WCLKE(WCLKE), .WE(WE), .WADDR(WADDR), .MASK(MASK), .WDATA(WDATA)); \
  endmodule

`SPIKELOOM_RAM(SB_RAM40_4K, RCLK, WCLK, 1, 1)
`SPIKELOOM_RAM(SB_RAM40_4KNR, RCLKN, WCLK, 0, 1)
`SPIKELOOM_RAM(SB_RAM40_4KNW, RCLK, WCLKN, 1, 0)
`SPIKELOOM_RAM(SB_RAM40_4KNRNW, RCLKN, WCLKN, 0, 0)

// 16384 x 16 bits, one port. Powers up with random contents (+verilator+seed+N chooses them), which is
// what finds a design that reads before it writes. The output after a write is not defined by the
// vendor: it shows the complement of what was written, so that nobody relies on it.
module SB_SPRAM256KA(
  input [13:0] ADDRESS, input [15:0] DATAIN, input [3:0] MASKWREN,
  input WREN, CHIPSELECT, CLOCK, STANDBY, SLEEP, POWEROFF, output reg [15:0] DATAOUT
);
  reg [15:0] memory [0:16383];
  integer k;
  initial begin
    DATAOUT = 16'd0;
    for (k = 0; k < 16384; k = k + 1) memory[k] = $urandom;
  end
  wire [15:0] mask = {{4{MASKWREN[3]}}, {4{MASKWREN[2]}}, {4{MASKWREN[1]}}, {4{MASKWREN[0]}}};
  wire off = SLEEP | ~POWEROFF;  // POWEROFF is active low
  always @(posedge CLOCK or posedge off)
    if (off) DATAOUT <= 16'd0;
    else if (CHIPSELECT && !STANDBY) begin
      if (WREN) begin
        memory[ADDRESS] <= (memory[ADDRESS] & ~mask) | (DATAIN & mask);
        DATAOUT <= ~DATAIN;
      end else DATAOUT <= memory[ADDRESS];
    end
endmodule

// --- multiplier and accumulator ----------------------------------------------------------------------

// A 16-bit register of SB_MAC16 that may be absent.
module spikeloom_mac16_register #(parameter PRESENT = 0, parameter WIDTH = 16)
  (input clock, input reset, input enable, input [WIDTH-1:0] d, output [WIDTH-1:0] q);
  reg [WIDTH-1:0] held = {WIDTH{1'b0}};
  always @(posedge clock or posedge reset)
    if (reset) held <= {WIDTH{1'b0}};
    else if (enable) held <= d;
  assign q = PRESENT ? held : d;
endmodule

// Half of the adder of SB_MAC16: adds or subtracts operand to or from base, with an output register.
module spikeloom_mac16_half #(parameter SELECT = 0)
  (input clock, input enable, input reset, input hold, input load, input subtract, input carry_in,
   input [15:0] base, input [15:0] operand, input [15:0] loaded, input [15:0] product8,
   input [15:0] product16, output [15:0] registered, output [15:0] out, output carry_out);
  wire [15:0] flipped = base ^ {16{subtract}};  // base - x = ~(~base + x)
  wire [15:0] sum;
  assign {carry_out, sum} = operand + flipped + carry_in;
  wire [15:0] result = load ? loaded : sum ^ {16{subtract}};
  reg [15:0] held = 16'd0;
  always @(posedge clock or posedge reset)
    if (reset) held <= 16'd0;
    else if (enable && !hold) held <= result;
  assign registered = held;
  assign out = SELECT == 0 ? result : SELECT == 1 ? held : SELECT == 2 ? product8 : product16;
endmodule

module SB_MAC16(
  input CLK, CE, input [15:0] C, A, B, D, input AHOLD, BHOLD, CHOLD, DHOLD, IRSTTOP, IRSTBOT,
  input ORSTTOP, ORSTBOT, OLOADTOP, OLOADBOT, ADDSUBTOP, ADDSUBBOT, OHOLDTOP, OHOLDBOT,
  input CI, ACCUMCI, SIGNEXTIN, output [31:0] O, output CO, ACCUMCO, SIGNEXTOUT
);
  parameter [0:0] NEG_TRIGGER = 0;
  parameter [0:0] C_REG = 0;
  parameter [0:0] A_REG = 0;
  parameter [0:0] B_REG = 0;
  parameter [0:0] D_REG = 0;
  parameter [0:0] TOP_8x8_MULT_REG = 0;
  parameter [0:0] BOT_8x8_MULT_REG = 0;
  parameter [0:0] PIPELINE_16x16_MULT_REG1 = 0;
  parameter [0:0] PIPELINE_16x16_MULT_REG2 = 0;
  parameter [1:0] TOPOUTPUT_SELECT = 0;
  parameter [1:0] TOPADDSUB_LOWERINPUT = 0;
  parameter [0:0] TOPADDSUB_UPPERINPUT = 0;
  parameter [1:0] TOPADDSUB_CARRYSELECT = 0;
  parameter [1:0] BOTOUTPUT_SELECT = 0;
  parameter [1:0] BOTADDSUB_LOWERINPUT = 0;
  parameter [0:0] BOTADDSUB_UPPERINPUT = 0;
  parameter [1:0] BOTADDSUB_CARRYSELECT = 0;
  parameter [0:0] MODE_8x8 = 0;
  parameter [0:0] A_SIGNED = 0;
  parameter [0:0] B_SIGNED = 0;

  wire clock = CLK ^ NEG_TRIGGER;
  wire [15:0] a, b, c, d;
  spikeloom_mac16_register #(A_REG) input_a(clock, IRSTTOP, CE & ~AHOLD, A, a);
  spikeloom_mac16_register #(B_REG) input_b(clock, IRSTBOT, CE & ~BHOLD, B, b);
  spikeloom_mac16_register #(C_REG) input_c(clock, IRSTTOP, CE & ~CHOLD, C, c);
  spikeloom_mac16_register #(D_REG) input_d(clock, IRSTBOT, CE & ~DHOLD, D, d);

  // four 8x8 products; the low bytes carry a sign only when the cell is two 8x8 multipliers
  wire signed [8:0] a_high = {A_SIGNED & a[15], a[15:8]};
  wire signed [8:0] b_high = {B_SIGNED & b[15], b[15:8]};
  wire signed [8:0] a_low = {A_SIGNED & MODE_8x8 & a[7], a[7:0]};
  wire signed [8:0] b_low = {B_SIGNED & MODE_8x8 & b[7], b[7:0]};
  wire signed [17:0] high = a_high * b_high;
  wire signed [8:0] a_plain = {1'b0, a[7:0]};
  wire signed [8:0] b_plain = {1'b0, b[7:0]};
  wire signed [17:0] cross_a = a_plain * b_high;
  wire signed [17:0] cross_b = a_high * b_plain;
  wire signed [17:0] low = a_low * b_low;
  wire signed [17:0] high_q, cross_a_q, cross_b_q, low_q;
  spikeloom_mac16_register #(TOP_8x8_MULT_REG, 18) stage_high(clock, IRSTTOP, CE, high, high_q);
  spikeloom_mac16_register #(PIPELINE_16x16_MULT_REG1, 18) stage_ca(clock, IRSTTOP, CE & ~MODE_8x8, cross_a, cross_a_q);
  spikeloom_mac16_register #(PIPELINE_16x16_MULT_REG1, 18) stage_cb(clock, IRSTBOT, CE & ~MODE_8x8, cross_b, cross_b_q);
  spikeloom_mac16_register #(BOT_8x8_MULT_REG, 18) stage_low(clock, IRSTBOT, CE, low, low_q);
  wire signed [31:0] wide_a = {{14{cross_a_q[17]}}, cross_a_q};
  wire signed [31:0] wide_b = {{14{cross_b_q[17]}}, cross_b_q};
  wire [31:0] product = {high_q[15:0], 16'd0} + (wide_a << 8) + (wide_b << 8) + {16'd0, low_q[15:0]};
  wire [31:0] product_q;
  spikeloom_mac16_register #(PIPELINE_16x16_MULT_REG2, 32) stage_product(
    clock, IRSTBOT, CE & ~MODE_8x8, product, product_q);

  // adder: operands, and the carries between its halves
  wire [15:0] held_high, held_low;
  wire [15:0] operand_low = BOTADDSUB_LOWERINPUT == 0 ? b : BOTADDSUB_LOWERINPUT == 1 ? low_q[15:0] :
                            BOTADDSUB_LOWERINPUT == 2 ? product_q[15:0] : {16{SIGNEXTIN}};
  wire [15:0] operand_high = TOPADDSUB_LOWERINPUT == 0 ? a : TOPADDSUB_LOWERINPUT == 1 ? high_q[15:0] :
                             TOPADDSUB_LOWERINPUT == 2 ? product_q[31:16] : {16{operand_low[15]}};
  wire carry_low_out, carry_high_out;
  wire carry_low = BOTADDSUB_CARRYSELECT == 0 ? 1'b0 : BOTADDSUB_CARRYSELECT == 1 ? 1'b1 :
                   BOTADDSUB_CARRYSELECT == 2 ? ACCUMCI : CI;
  wire carry_high = TOPADDSUB_CARRYSELECT == 0 ? 1'b0 : TOPADDSUB_CARRYSELECT == 1 ? 1'b1 :
                    TOPADDSUB_CARRYSELECT == 2 ? carry_low_out : carry_low_out ^ ADDSUBBOT;
  spikeloom_mac16_half #(BOTOUTPUT_SELECT) half_low(
    clock, CE, ORSTBOT, OHOLDBOT, OLOADBOT, ADDSUBBOT, carry_low,
    BOTADDSUB_UPPERINPUT ? d : held_low, operand_low, d, low_q[15:0], product_q[15:0],
    held_low, O[15:0], carry_low_out);
  spikeloom_mac16_half #(TOPOUTPUT_SELECT) half_high(
    clock, CE, ORSTTOP, OHOLDTOP, OLOADTOP, ADDSUBTOP, carry_high,
    TOPADDSUB_UPPERINPUT ? c : held_high, operand_high, c, high_q[15:0], product_q[31:16],
    held_high, O[31:16], carry_high_out);
  assign ACCUMCO = carry_high_out;
  assign CO = carry_high_out ^ ADDSUBTOP;
  assign SIGNEXTOUT = operand_high[15];
endmodule
