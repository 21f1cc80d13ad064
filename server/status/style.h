// The style sheet of the status page. Private to status/.
#pragma once

namespace haarflow {

inline constexpr char kStatusStyle[] = R"css(
:root{color-scheme:light dark;--bg:#f5f6f8;--card:#fff;--ink:#182230;--soft:#5d6b82;--line:#e3e7ee;--track:#e9edf3;
--ess:#2563eb;--acc:#c2570c;--good:#15803d;--goodbg:#e6f5eb;--warn:#a15c07;--warnbg:#fdf3dc;--bad:#b42318;--badbg:#fdeceb;--calm:#475467;--calmbg:#eef1f5}
@media(prefers-color-scheme:dark){:root{--bg:#0e131a;--card:#161d27;--ink:#e7ebf1;--soft:#95a3b8;--line:#263140;--track:#263140;
--ess:#6ea8fe;--acc:#f5a35c;--good:#5fd08a;--goodbg:#14301f;--warn:#f0bf5a;--warnbg:#352a10;--bad:#ff8f86;--badbg:#3b1a18;--calm:#a7b4c6;--calmbg:#222c39}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:14px/1.45 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main{max-width:1200px;margin:0 auto;padding:20px 20px 40px}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:6px 14px;margin-bottom:16px}
h1{font-size:22px;margin:0;letter-spacing:-.01em}
h2{font-size:15px;margin:28px 0 10px}
h2 small,header small{font-weight:400;font-size:13px;color:var(--soft)}
header small:last-child{margin-left:auto}
a{color:var(--ess)}
.pill{display:inline-block;padding:1px 8px;border-radius:99px;font-size:12px;font-weight:600;white-space:nowrap;background:var(--calmbg);color:var(--calm)}
.good{background:var(--goodbg);color:var(--good)}.warn{background:var(--warnbg);color:var(--warn)}.bad{background:var(--badbg);color:var(--bad)}
.tiles,.cards{display:grid;gap:12px}
.tiles{grid-template-columns:repeat(auto-fit,minmax(165px,1fr))}
.cards{grid-template-columns:repeat(auto-fill,minmax(340px,1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px;min-width:0}
.tile b{display:block;font-size:21px;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.3}
.tile span,.note{color:var(--soft);font-size:12.5px}
.card h3{margin:0;font-size:14px;display:flex;gap:8px;align-items:center;overflow-wrap:anywhere}
.card p{margin:2px 0 6px;color:var(--soft);font-size:12.5px;overflow-wrap:anywhere}
.card .why{color:var(--bad)}
dl{display:grid;grid-template-columns:repeat(4,auto);justify-content:space-between;margin:6px 0 0;gap:0 10px}
dt{font-size:11.5px;color:var(--soft);grid-row:1}
dd{margin:0;font-variant-numeric:tabular-nums;font-weight:600}
dt i{display:inline-block;width:8px;height:8px;border-radius:2px;margin-right:5px}
i.ess{background:var(--ess)}i.acc{background:var(--acc)}
.wide{overflow-x:auto;padding:0}
table{border-collapse:collapse;width:100%;min-width:760px}
th,td{padding:7px 12px;text-align:left;border-top:1px solid var(--line);vertical-align:top}
tr:first-child th{border-top:0}
th{font-size:12px;font-weight:600;color:var(--soft);white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td small{color:var(--soft);display:block;overflow-wrap:anywhere}
td .pill{margin:0 4px 2px 0}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:10px;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}.reference{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 4}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
path.ess{stroke:var(--ess)}path.acc{stroke:var(--acc)}circle.ess{fill:var(--ess)}circle.acc{fill:var(--acc)}
.spark{height:30px;margin-top:4px}.spark .line{vector-effect:non-scaling-stroke}.bar{height:8px;margin:5px 0 3px}
.track{fill:var(--track)}.fill{fill:var(--ess)}.fill.over{fill:var(--bad)}
)css";

}  // namespace haarflow
