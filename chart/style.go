package chart

// paletteSize is how many colours series have before they repeat, dashed.
const paletteSize = 8

// styleSheet gives roles and tones their looks. Every rule is held below
// .belay-chart, so that a chart set into a page changes nothing else there.
const styleSheet = `
.belay-chart{--paper:#fff;--edge:#e3e8ee;--ink:#1c2733;--muted:#5f6c7b;--grid:#e9edf2;--axis:#a9b4c0;--track:#f3f5f8;
--impact:#dc2626;--gap:#8794a3;--pending:#f2b33d;--firing:#dc2626;--change:#2563eb;--act:#7c3aed;--good:#15803d;--quiet:#64748b;--limit:#b45309;
--c0:#2563eb;--c1:#c2410c;--c2:#0f766e;--c3:#7c3aed;--c4:#be185d;--c5:#4d7c0f;--c6:#0369a1;--c7:#57534e;--on:#fff;--on-pending:#3d2a00;
max-width:100%;height:auto;font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
@media (prefers-color-scheme:dark){.belay-chart{--paper:#12181f;--edge:#2a3440;--ink:#e8edf3;--muted:#9fadbb;--grid:#232d38;--axis:#4c5a69;--track:#1a222b;
--impact:#f87171;--gap:#8794a3;--pending:#e0a63a;--firing:#e5484d;--change:#4f8ff7;--act:#a078f5;--good:#3fa866;--quiet:#8391a1;--limit:#f0a553;
--c0:#6ea8fe;--c1:#f2955b;--c2:#4bc0b1;--c3:#b197fc;--c4:#f783ac;--c5:#a3c94f;--c6:#66c2ec;--c7:#b8b2ab;--on:#fff;--on-pending:#201500}}
@media print{.belay-chart{--paper:#fff;--edge:#fff;--ink:#000;--muted:#333;--grid:#ddd;--axis:#777;--track:#f2f2f2;--quiet:#555;--limit:#8a3b00;--c0:#0b3fa8;print-color-adjust:exact;-webkit-print-color-adjust:exact}}
.belay-chart .narrow{display:none}
@media (max-width:600px){.belay-chart .wide{display:none}.belay-chart .narrow{display:inline}}
.belay-chart text{font-size:11.5px;fill:var(--muted)}
.belay-chart .label,.belay-chart .muted{paint-order:stroke;stroke:var(--paper);stroke-width:3;stroke-linejoin:round}
.belay-chart .paper{fill:var(--paper);stroke:var(--edge)}
.belay-chart .title{font-size:16px;font-weight:650;fill:var(--ink)}
.belay-chart .subtitle{font-size:12px}
.belay-chart .strong{fill:var(--ink)}
.belay-chart .grid{stroke:var(--grid)}
.belay-chart .axis,.belay-chart .tick{stroke:var(--axis)}
.belay-chart .series{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.belay-chart circle.series{fill:var(--c);stroke:none}
.belay-chart .again{stroke-dasharray:5 3}
.belay-chart .area{fill:var(--c);fill-opacity:.09}
.belay-chart .band{fill:var(--good);fill-opacity:.16}
.belay-chart .c0{--c:var(--c0)}.belay-chart .c1{--c:var(--c1)}.belay-chart .c2{--c:var(--c2)}.belay-chart .c3{--c:var(--c3)}
.belay-chart .c4{--c:var(--c4)}.belay-chart .c5{--c:var(--c5)}.belay-chart .c6{--c:var(--c6)}.belay-chart .c7{--c:var(--c7)}
.belay-chart .impact{--t:var(--impact)}.belay-chart .gap{--t:var(--gap)}.belay-chart .pending{--t:var(--pending)}.belay-chart .firing{--t:var(--firing)}
.belay-chart .change{--t:var(--change)}.belay-chart .act{--t:var(--act)}.belay-chart .good{--t:var(--good)}.belay-chart .quiet{--t:var(--quiet)}
.belay-chart .limit{stroke:var(--limit);stroke-width:1.3;stroke-dasharray:6 4}
.belay-chart .on-limit,.belay-chart .on-window{font-weight:600;paint-order:stroke;stroke:var(--paper);stroke-width:3.5;stroke-linejoin:round}
.belay-chart .on-limit{fill:var(--limit)}
.belay-chart .on-window{fill:var(--t)}
.belay-chart .window{fill:var(--t);fill-opacity:.09}
.belay-chart .leader{fill:none;stroke:var(--t,var(--muted));stroke-width:1;stroke-dasharray:2 3;stroke-opacity:.75}
.belay-chart .marker{fill:var(--t,var(--muted));stroke:var(--paper);stroke-width:1.5}
.belay-chart .number{font-size:10.5px;font-weight:700;fill:var(--on)}
.belay-chart .number.pending{fill:var(--on-pending)}
.belay-chart .track{fill:var(--track)}
.belay-chart .span{fill:var(--t);stroke:var(--paper);stroke-width:1}
.belay-chart .span.quiet{fill-opacity:.28}
.belay-chart .on-span{font-size:10.5px;font-weight:600;fill:var(--on)}
.belay-chart .on-span.pending{fill:var(--on-pending)}
.belay-chart .on-span.quiet{fill:var(--ink)}
`
