package chart

// A Scene is a finished drawing: shapes in the order in which they are painted,
// in units of its own width and height. It knows no file format.
type Scene struct {
	Width, Height float64
	Shapes        []Shape
}

// A Shape is a Rect, a Line, a Path, a Dot or a Text.
type Shape interface{ shape() }

// Role is what a shape is for. Back ends map it to colours, weights and dashes.
type Role string

// The roles. Those that carry a Tone are coloured by it.
const (
	RolePaper  Role = "paper"
	RoleGrid   Role = "grid"
	RoleAxis   Role = "axis"
	RoleTick   Role = "tick"
	RoleSeries Role = "series"
	RoleArea   Role = "area"
	RoleBand   Role = "band"
	RoleLimit  Role = "limit"
	RoleWindow Role = "window"
	RoleLeader Role = "leader"
	RoleMarker Role = "marker"
	RoleTrack  Role = "track"
	RoleSpan   Role = "span"

	RoleTitle    Role = "title"
	RoleSubtitle Role = "subtitle"
	RoleLabel    Role = "label"
	RoleStrong   Role = "strong"
	RoleNumber   Role = "number"
	RoleOnLimit  Role = "on-limit"
	RoleOnWindow Role = "on-window"
	RoleOnSpan   Role = "on-span"
	RoleMuted    Role = "muted"
)

// Style is what back ends need to know to paint a shape.
type Style struct {
	Role  Role
	Tone  Tone
	Index int    // of a series, from 0
	Tip   string // shown when a reader points at it; may be empty
}

// A Rect is an upright rectangle with rounded corners.
type Rect struct {
	Style
	X, Y, W, H, Radius float64
}

// A Line is straight.
type Line struct {
	Style
	X1, Y1, X2, Y2 float64
}

// A Path is one or more open polylines, or closed areas when Closed is set.
type Path struct {
	Style
	Runs   [][]XY
	Closed bool
}

// XY is a place on the scene; y grows downwards.
type XY struct{ X, Y float64 }

// A Dot is a filled circle.
type Dot struct {
	Style
	X, Y, R float64
}

// Anchor says which part of a text stands at its place.
type Anchor string

// The values of Anchor.
const (
	Start  Anchor = "start"
	Middle Anchor = "middle"
	End    Anchor = "end"
)

// A Text is one line of text; Y is its baseline.
type Text struct {
	Style
	X, Y   float64
	Anchor Anchor
	Text   string
}

func (Rect) shape() {}
func (Line) shape() {}
func (Path) shape() {}
func (Dot) shape()  {}
func (Text) shape() {}

// fontSizes are the heights of text by role, in units of the scene.
var fontSizes = map[Role]float64{
	RoleTitle: 16, RoleSubtitle: 12, RoleLabel: 11.5, RoleStrong: 11.5, RoleNumber: 10.5,
	RoleOnLimit: 11.5, RoleOnWindow: 11.5, RoleOnSpan: 10.5, RoleMuted: 11.5,
}

// textWidth estimates the width of a text in a system font, a little on the
// wide side, so that what fits by this measure fits on paper.
func textWidth(s string, role Role) float64 {
	var em float64
	for _, r := range s {
		switch {
		case r == ' ' || r == '.' || r == ',' || r == ':' || r == 'i' || r == 'l' || r == 'j' || r == '|' || r == '\'':
			em += 0.32
		case r == 'm' || r == 'w' || r == 'M' || r == 'W' || r == '%' || r == '@':
			em += 0.92
		case r >= 'A' && r <= 'Z':
			em += 0.70
		case r >= 0x1100:
			em += 1.05
		default:
			em += 0.60
		}
	}
	return em * fontSizes[role]
}

// fit cuts a text so that it is no wider than width. Where not even two letters
// would fit, nothing is left.
func fit(s string, role Role, width float64) string {
	s = head2(s)
	if textWidth(s, role) <= width {
		return s
	}
	runes := []rune(s)
	for n := min(len(runes)-1, 400); n >= 2; n-- {
		if cut := string(runes[:n]) + "…"; textWidth(cut, role) <= width {
			return cut
		}
	}
	return ""
}

// head2 bounds a text before anything measures it.
func head2(s string) string {
	runes := 0
	for i := range s {
		if runes++; runes > 400 {
			return s[:i]
		}
	}
	return s
}
