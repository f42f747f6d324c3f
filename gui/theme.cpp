#include "gui/theme.h"

#include <QApplication>
#include <QStyle>
#include <QStyleFactory>

namespace fovea::gui {
namespace {

QColor mix(const QColor& a, const QColor& b, double part) {
  const auto channel = [part](int from, int to) {
    return static_cast<int>(from + (to - from) * part + 0.5);
  };
  return {channel(a.red(), b.red()), channel(a.green(), b.green()), channel(a.blue(), b.blue())};
}

QPalette make_palette(const QColor& window, const QColor& base, const QColor& button,
                      const QColor& text, const QColor& accent) {
  QPalette palette(button, window);
  const QColor faint = mix(text, window, 0.55);
  palette.setColor(QPalette::Window, window);
  palette.setColor(QPalette::WindowText, text);
  palette.setColor(QPalette::Base, base);
  palette.setColor(QPalette::AlternateBase, mix(base, window, 0.5));
  palette.setColor(QPalette::Text, text);
  palette.setColor(QPalette::PlaceholderText, faint);
  palette.setColor(QPalette::Button, button);
  palette.setColor(QPalette::ButtonText, text);
  palette.setColor(QPalette::BrightText, Qt::white);
  palette.setColor(QPalette::ToolTipBase, base);
  palette.setColor(QPalette::ToolTipText, text);
  palette.setColor(QPalette::Highlight, accent);
  palette.setColor(QPalette::HighlightedText, Qt::white);
  palette.setColor(QPalette::Link, accent);
  for (const auto role : {QPalette::WindowText, QPalette::Text, QPalette::ButtonText}) {
    palette.setColor(QPalette::Disabled, role, faint);
  }
  palette.setColor(QPalette::Disabled, QPalette::Highlight, mix(accent, window, 0.6));
  return palette;
}

}  // namespace

void apply_appearance(const QString& appearance) {
  static const QString system_style = QApplication::style()->objectName();
  if (appearance != QLatin1String("light") && appearance != QLatin1String("dark")) {
    QApplication::setStyle(QStyleFactory::create(system_style));
    QApplication::setPalette(QPalette());
    return;
  }
  QApplication::setStyle(QStyleFactory::create(QStringLiteral("Fusion")));
  const bool dark = appearance == QLatin1String("dark");
  QApplication::setPalette(dark ? make_palette(QColor(0x20, 0x22, 0x26), QColor(0x18, 0x1a, 0x1d),
                                               QColor(0x2d, 0x30, 0x36), QColor(0xe4, 0xe6, 0xea),
                                               QColor(0x3d, 0x8b, 0xfd))
                                : make_palette(QColor(0xf4, 0xf5, 0xf7), QColor(0xff, 0xff, 0xff),
                                               QColor(0xfa, 0xfb, 0xfc), QColor(0x1d, 0x1f, 0x24),
                                               QColor(0x1f, 0x6f, 0xe0)));
}

bool is_dark(const QPalette& palette) {
  return palette.color(QPalette::Window).lightness() < 128;
}

QColor muted(const QPalette& palette) {
  return mix(palette.color(QPalette::WindowText), palette.color(QPalette::Window), 0.42);
}

QColor hairline(const QPalette& palette) {
  return mix(palette.color(QPalette::WindowText), palette.color(QPalette::Window), 0.82);
}

QColor stage_color(const QPalette& palette) {
  return palette.color(QPalette::Window).darker(is_dark(palette) ? 135 : 107);
}

QColor alarm_color(const QPalette& palette) {
  return is_dark(palette) ? QColor(0xff, 0x8a, 0x75) : QColor(0xb3, 0x26, 0x1e);
}

}  // namespace fovea::gui
