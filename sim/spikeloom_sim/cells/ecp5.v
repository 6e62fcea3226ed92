// Two-state simulation models of the Lattice ECP5 cells that Spikeloom's designs use, before and
// around synthesis: pads, flip-flops, PLL, multiplier. Behaviour from the vendor's public documents.

`ifndef INPUT_HZ
`define INPUT_HZ 0
`endif
`ifndef LOCK_CYCLES
`define LOCK_CYCLES 16
`endif

// --- pads ------------------------------------------------------------------------------------------

module IB(input I, output O);
  assign O = I;
endmodule

module OB(input I, output O);
  assign O = I;
endmodule

// T high releases the pad; a released pad reads as the pull-up that UARTs and buttons have.
module OBZ(input I, input T, output O);
  assign O = T | I;
endmodule

module BB(input I, input T, output O, inout B);
  assign B = T ? 1'bz : I;
  assign O = B;
endmodule

// --- flip-flops --------------------------------------------------------------------------------------

module FD1S3AX(input D, input CK, output reg Q);
  parameter GSR = "ENABLED";
  initial Q = 1'b0;
  always @(posedge CK) Q <= D;
endmodule

module FD1S3AY(input D, input CK, output reg Q);
  parameter GSR = "ENABLED";
  initial Q = 1'b1;
  always @(posedge CK) Q <= D;
endmodule

// asynchronous preset
module FD1S3BX(input D, input CK, input PD, output reg Q);
  parameter GSR = "ENABLED";
  initial Q = 1'b1;
  always @(posedge CK or posedge PD)
    if (PD) Q <= 1'b1;
    else Q <= D;
endmodule

// asynchronous clear
module FD1S3DX(input D, input CK, input CD, output reg Q);
  parameter GSR = "ENABLED";
  initial Q = 1'b0;
  always @(posedge CK or posedge CD)
    if (CD) Q <= 1'b0;
    else Q <= D;
endmodule

// registers in the pads
module IFS1P3DX(input D, input SCLK, input SP, input CD, output reg Q);
  initial Q = 1'b0;
  always @(posedge SCLK or posedge CD)
    if (CD) Q <= 1'b0;
    else if (SP) Q <= D;
endmodule

module OFS1P3DX(input D, input SCLK, input SP, input CD, output reg Q);
  initial Q = 1'b0;
  always @(posedge SCLK or posedge CD)
    if (CD) Q <= 1'b0;
    else if (SP) Q <= D;
endmodule

// Configuration already leaves every register at its initial value.
module GSR(input GSR);
endmodule

module SGSR(input CLK, input GSR);
endmodule

// --- PLL ---------------------------------------------------------------------------------------------

// Passes the clock on: one simulated cycle is one cycle of the output, whatever the ratio. Checks that
// the dividers are legal for the input frequency (INPUT_HZ, when it is defined), and locks late.
module EHXPLLL(
  input CLKI, input CLKFB,
  input PHASESEL1, input PHASESEL0, input PHASEDIR, input PHASESTEP, input PHASELOADREG,
  input STDBY, input PLLWAKESYNC, input RST,
  input ENCLKOP, input ENCLKOS, input ENCLKOS2, input ENCLKOS3,
  output CLKOP, output CLKOS, output CLKOS2, output CLKOS3,
  output LOCK, output INTLOCK, output REFCLK, output CLKINTFB
);
  parameter CLKI_DIV = 1;
  parameter CLKFB_DIV = 1;
  parameter CLKOP_DIV = 8;
  parameter CLKOS_DIV = 8;
  parameter CLKOS2_DIV = 8;
  parameter CLKOS3_DIV = 8;
  parameter CLKOP_ENABLE = "ENABLED";
  parameter CLKOS_ENABLE = "DISABLED";
  parameter CLKOS2_ENABLE = "DISABLED";
  parameter CLKOS3_ENABLE = "DISABLED";
  parameter CLKOP_CPHASE = 0;
  parameter CLKOS_CPHASE = 0;
  parameter CLKOS2_CPHASE = 0;
  parameter CLKOS3_CPHASE = 0;
  parameter CLKOP_FPHASE = 0;
  parameter CLKOS_FPHASE = 0;
  parameter CLKOS2_FPHASE = 0;
  parameter CLKOS3_FPHASE = 0;
  parameter FEEDBK_PATH = "CLKOP";
  parameter CLKOP_TRIM_POL = "RISING";
  parameter CLKOP_TRIM_DELAY = 0;
  parameter CLKOS_TRIM_POL = "RISING";
  parameter CLKOS_TRIM_DELAY = 0;
  parameter OUTDIVIDER_MUXA = "DIVA";
  parameter OUTDIVIDER_MUXB = "DIVB";
  parameter OUTDIVIDER_MUXC = "DIVC";
  parameter OUTDIVIDER_MUXD = "DIVD";
  parameter PLL_LOCK_MODE = 0;
  parameter PLL_LOCK_DELAY = 200;
  parameter STDBY_ENABLE = "DISABLED";
  parameter REFIN_RESET = "DISABLED";
  parameter SYNC_ENABLE = "DISABLED";
  parameter INT_LOCK_STICKY = "ENABLED";
  parameter DPHASE_SOURCE = "DISABLED";
  parameter PLLRST_ENA = "DISABLED";
  parameter INTFB_WAKE = "DISABLED";

  // The feedback comes from CLKOP, so the oscillator runs at input / CLKI_DIV * CLKFB_DIV * CLKOP_DIV.
  localparam real DETECTOR = `INPUT_HZ * 1.0 / CLKI_DIV;
  localparam real OSCILLATOR = DETECTOR * CLKFB_DIV * CLKOP_DIV;
  initial begin
    if (CLKI_DIV < 1 || CLKI_DIV > 128 || CLKFB_DIV < 1 || CLKFB_DIV > 80
        || CLKOP_DIV < 1 || CLKOP_DIV > 128)
      $fatal(1, "EHXPLLL: dividers %0d, %0d, %0d are outside 1..128, 1..80, 1..128",
             CLKI_DIV, CLKFB_DIV, CLKOP_DIV);
    if (FEEDBK_PATH != "CLKOP" && FEEDBK_PATH != "INT_OP")
      $fatal(1, "EHXPLLL: this model knows feedback from CLKOP only");
    if (`INPUT_HZ != 0) begin
      if (`INPUT_HZ < 8_000_000 || `INPUT_HZ > 400_000_000)
        $fatal(1, "EHXPLLL: input of %0d Hz is outside 8..400 MHz", `INPUT_HZ);
      if (DETECTOR < 3.125e6 || DETECTOR > 400.0e6)
        $fatal(1, "EHXPLLL: phase detector at %0g Hz is outside 3.125..400 MHz", DETECTOR);
      if (OSCILLATOR < 400.0e6 || OSCILLATOR > 800.0e6)
        $fatal(1, "EHXPLLL: oscillator at %0g Hz is outside 400..800 MHz", OSCILLATOR);
    end
  end

  integer cycles = 0;
  reg locked = 1'b0;
  always @(posedge CLKI) begin
    if (RST && PLLRST_ENA == "ENABLED") begin
      cycles <= 0;
      locked <= 1'b0;
    end else if (!locked) begin
      cycles <= cycles + 1;
      locked <= cycles >= `LOCK_CYCLES;
    end
  end
  assign CLKOP = CLKI;
  assign CLKOS = 1'b0;
  assign CLKOS2 = 1'b0;
  assign CLKOS3 = 1'b0;
  assign CLKINTFB = CLKI;
  assign REFCLK = CLKI;
  assign LOCK = locked;
  assign INTLOCK = locked;
  initial
    if (CLKOS_ENABLE == "ENABLED" || CLKOS2_ENABLE == "ENABLED" || CLKOS3_ENABLE == "ENABLED")
      $fatal(1, "EHXPLLL: this model makes one clock, CLKOP");
endmodule

// --- multiplier --------------------------------------------------------------------------------------

// One stage of registers of a multiplier, or a wire when its clock is NONE.
module spikeloom_dsp_stage #(parameter WIDTH = 18, parameter CLK = "NONE", parameter CE = "CE0",
                             parameter RST = "RST0", parameter MODE = "SYNC")
  (input [3:0] clocks, input [3:0] enables, input [3:0] resets,
   input [WIDTH-1:0] d, output [WIDTH-1:0] q);
  generate
    if (CLK == "NONE") begin : wire_
      assign q = d;
    end else begin : register
      wire clock = CLK == "CLK0" ? clocks[0] : CLK == "CLK1" ? clocks[1] :
                   CLK == "CLK2" ? clocks[2] : clocks[3];
      wire enable = CE == "CE0" ? enables[0] : CE == "CE1" ? enables[1] :
                    CE == "CE2" ? enables[2] : enables[3];
      wire reset = RST == "RST0" ? resets[0] : RST == "RST1" ? resets[1] :
                   RST == "RST2" ? resets[2] : resets[3];
      reg [WIDTH-1:0] held = {WIDTH{1'b0}};
      assign q = held;
      if (MODE == "ASYNC") begin : asynchronous
        always @(posedge clock or posedge reset)
          if (reset) held <= {WIDTH{1'b0}};
          else if (enable) held <= d;
      end else begin : synchronous
        always @(posedge clock)
          if (reset) held <= {WIDTH{1'b0}};
          else if (enable) held <= d;
      end
    end
  endgenerate
endmodule

module MULT18X18D(
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
  input SRIA17, SRIA16, SRIA15, SRIA14, SRIA13, SRIA12, SRIA11, SRIA10, SRIA9,
  input SRIA8, SRIA7, SRIA6, SRIA5, SRIA4, SRIA3, SRIA2, SRIA1, SRIA0,
  input SRIB17, SRIB16, SRIB15, SRIB14, SRIB13, SRIB12, SRIB11, SRIB10, SRIB9,
  input SRIB8, SRIB7, SRIB6, SRIB5, SRIB4, SRIB3, SRIB2, SRIB1, SRIB0,
  output SROA17, SROA16, SROA15, SROA14, SROA13, SROA12, SROA11, SROA10, SROA9,
  output SROA8, SROA7, SROA6, SROA5, SROA4, SROA3, SROA2, SROA1, SROA0,
  output SROB17, SROB16, SROB15, SROB14, SROB13, SROB12, SROB11, SROB10, SROB9,
  output SROB8, SROB7, SROB6, SROB5, SROB4, SROB3, SROB2, SROB1, SROB0,
  output ROA17, ROA16, ROA15, ROA14, ROA13, ROA12, ROA11, ROA10, ROA9,
  output ROA8, ROA7, ROA6, ROA5, ROA4, ROA3, ROA2, ROA1, ROA0,
  output ROB17, ROB16, ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9,
  output ROB8, ROB7, ROB6, ROB5, ROB4, ROB3, ROB2, ROB1, ROB0,
  output ROC17, ROC16, ROC15, ROC14, ROC13, ROC12, ROC11, ROC10, ROC9,
  output ROC8, ROC7, ROC6, ROC5, ROC4, ROC3, ROC2, ROC1, ROC0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0,
  output SIGNEDP
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_INPUTB_RST = "RST0";
  parameter REG_INPUTC_CLK = "NONE";
  parameter REG_INPUTC_CE = "CE0";
  parameter REG_INPUTC_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_PIPELINE_CE = "CE0";
  parameter REG_PIPELINE_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0";
  parameter REG_OUTPUT_RST = "RST0";
  parameter CLK0_DIV = "ENABLED";
  parameter CLK1_DIV = "ENABLED";
  parameter CLK2_DIV = "ENABLED";
  parameter CLK3_DIV = "ENABLED";
  parameter HIGHSPEED_CLK = "NONE";
  parameter GSR = "ENABLED";
  parameter CAS_MATCH_REG = "FALSE";
  parameter SOURCEB_MODE = "B_SHIFT";
  parameter MULT_BYPASS = "DISABLED";
  parameter RESETMODE = "SYNC";

  wire [3:0] clocks = {CLK3, CLK2, CLK1, CLK0};
  wire [3:0] enables = {CE3, CE2, CE1, CE0};
  wire [3:0] resets = {RST3, RST2, RST1, RST0};
  wire [18:0] a, b;
  spikeloom_dsp_stage #(19, REG_INPUTA_CLK, REG_INPUTA_CE, REG_INPUTA_RST, RESETMODE) stage_a(
    clocks, enables, resets,
    {SIGNEDA, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0}, a);
  spikeloom_dsp_stage #(19, REG_INPUTB_CLK, REG_INPUTB_CE, REG_INPUTB_RST, RESETMODE) stage_b(
    clocks, enables, resets,
    {SIGNEDB, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0}, b);

  // nineteen bits hold both an unsigned and a signed factor
  wire signed [18:0] factor_a = {a[18] & a[17], a[17:0]};
  wire signed [18:0] factor_b = {b[18] & b[17], b[17:0]};
  wire signed [37:0] product = factor_a * factor_b;
  wire [36:0] piped, out;
  spikeloom_dsp_stage #(37, REG_PIPELINE_CLK, REG_PIPELINE_CE, REG_PIPELINE_RST, RESETMODE) stage_p(
    clocks, enables, resets, {a[18] | b[18], product[35:0]}, piped);
  spikeloom_dsp_stage #(37, REG_OUTPUT_CLK, REG_OUTPUT_CE, REG_OUTPUT_RST, RESETMODE) stage_o(
    clocks, enables, resets, piped, out);
  assign {SIGNEDP, P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
          P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = out;
  initial begin
    if (MULT_BYPASS != "DISABLED" || CAS_MATCH_REG != "FALSE")
      $fatal(1, "MULT18X18D: this model has no bypass and no cascade");
    if (REG_INPUTC_CLK != "NONE") $fatal(1, "MULT18X18D: this model has no C input");
  end
  // cascades carry nothing here; giving them a value keeps them from floating
  assign {SROA17, SROA16, SROA15, SROA14, SROA13, SROA12, SROA11, SROA10, SROA9, SROA8, SROA7, SROA6,
          SROA5, SROA4, SROA3, SROA2, SROA1, SROA0} = 18'd0;
  assign {SROB17, SROB16, SROB15, SROB14, SROB13, SROB12, SROB11, SROB10, SROB9, SROB8, SROB7, SROB6,
          SROB5, SROB4, SROB3, SROB2, SROB1, SROB0} = 18'd0;
  assign {ROA17, ROA16, ROA15, ROA14, ROA13, ROA12, ROA11, ROA10, ROA9, ROA8, ROA7, ROA6,
          ROA5, ROA4, ROA3, ROA2, ROA1, ROA0} = a[17:0];
  assign {ROB17, ROB16, ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9, ROB8, ROB7, ROB6,
          ROB5, ROB4, ROB3, ROB2, ROB1, ROB0} = b[17:0];
  assign {ROC17, ROC16, ROC15, ROC14, ROC13, ROC12, ROC11, ROC10, ROC9, ROC8, ROC7, ROC6,
          ROC5, ROC4, ROC3, ROC2, ROC1, ROC0} = 18'd0;
endmodule
